/* SPDX-License-Identifier: BSD-2-Clause
 *
 * decide POLICY [BASE.gguf]: what a policy, or a student, says to each record on standard input, beside what happened.
 *
 *     cc decide.c -o decide $(pkg-config --cflags --libs aqmtrain)
 *     aqmtrain pool parse /var/log/messages -o pool.h5 && aqmtrain pool export pool.h5 -o pool.csv
 *     ./decide policy.bundle <pool.csv
 */
#include <aqmtrain/aqmtrain.h>
#include <stdio.h>

#define FIELDS \
	"%u,%u,%u,%u,%u,%u,%u,%u,%u,%u,%u,%u,%lu,%u,%u,%u,%u,%lu,%lu,%u,%u,%u,%lu,%u" /* LP64: uint64_t is a long */

int main(int argc, char **argv)
{
	static const char *const names[AQM_ACTIONS] = {"enqueue", "drop", "mark"};
	unsigned episode, last_episode = 0, happened;
	aqm_controller *controller;
	enum aqm_action action;
	struct aqm_record r;
	double p[AQM_ACTIONS];
	char line[1024];

	if (argc < 2 || aqm_controller_open(&controller, argv[1], argv[2]) != AQM_OK) {
		fprintf(stderr, "%s: %s\n", argv[0], argc < 2 ? "wants a policy" : aqm_error_message());
		return 1;
	}
	while (fgets(line, sizeof line, stdin)) {
		if (sscanf(line, "%u,%*[^,]," FIELDS ",%u", &episode, &r.queue_type, &r.qdelay_ref, &r.tupdate, &r.max_burst,
		           &r.max_ecnth, &r.alpha, &r.beta, &r.flags, &r.burst_allowance, &r.drop_prob, &r.current_qdelay,
		           &r.qdelay_old, &r.accu_prob, &r.measurement_start, &r.avg_dq_time, &r.dq_count, &r.sflags,
		           &r.tot_pkts, &r.tot_bytes, &r.length, &r.len_bytes, &r.drops, &r.pkt_len, &r.action_logged,
		           &happened) != 26 ||
		    happened >= AQM_ACTIONS)
			continue; /* the header */
		if (episode != last_episode)
			aqm_controller_reset(controller);
		last_episode = episode;
		if (aqm_controller_decide(controller, &r, &action, p) != AQM_OK ||
		    aqm_controller_observe(controller, (enum aqm_action)happened) != AQM_OK) {
			fprintf(stderr, "%s: %s\n", argv[0], aqm_error_message());
			break;
		}
		printf("%s %s %.4f %.4f %.4f\n", names[happened], names[action], p[AQM_ENQUEUE], p[AQM_DROP], p[AQM_MARK]);
	}
	aqm_controller_close(controller);
	return ferror(stdin) || !feof(stdin);
}
