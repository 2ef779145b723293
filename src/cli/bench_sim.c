/* SPDX-License-Identifier: BSD-2-Clause
 *
 * aqmtrain bench sim: packets a second on one core, 1 Gb/s, ten flows, each queue discipline. The limit is the same
 * load through a plain fifo of 15 ms.
 */
#include <string.h>

#include "aqmtrain/sim.h"
#include "cli/bench.h"

struct load {
	struct aqm_scenario scenario;
	struct aqm_sim_result result;
	int code;
};

static int make_scenario(struct aqm_scenario *s, const char *aqm, double seconds)
{
	aqm_scenario_init(s);
	s->seconds = seconds;
	s->link.rate = 1000;
	s->series = 1000;
	snprintf(s->aqm.kind, sizeof s->aqm.kind, "%s", aqm);
	s->aqm.limit = strcmp(aqm, "fifo") == 0 ? 1250 : s->aqm.limit; /* 15 ms */
	return aqm_scenario_add_flows(s, "prague", 5, 10) && aqm_scenario_add_flows(s, "cubic", 5, 10) ? AQM_OK : AQM_ERUN;
}

static void simulate(void *context)
{
	struct load *load = context;

	aqm_sim_result_release(&load->result);
	load->code = aqm_sim_run(&load->scenario, NULL, &load->result);
}

static int measure(const struct aqm_bench *bench, const char *aqm, double *rate)
{
	struct load load = {0};
	int code = make_scenario(&load.scenario, aqm, bench->quick ? 0.2 : 10);

	if (code == AQM_OK) {
		double taken = aqm_bench_shortest(bench, 3, simulate, &load);

		code = load.code;
		*rate = (double)load.result.packets / taken * 1e-6;
	}
	aqm_sim_result_release(&load.result);
	aqm_scenario_release(&load.scenario);
	return code;
}

int aqm_bench_sim(struct aqm_bench *bench)
{
	static const char *const kinds[] = {"dualpi2", "dualpi2-linux", "freebsd-l4s", "pie", "codel", "fq_codel"};
	double limit, rate;
	int code = measure(bench, "fifo", &limit);

	for (size_t i = 0; i < sizeof kinds / sizeof *kinds && code == AQM_OK; i++) {
		char name[64];

		snprintf(name, sizeof name, "sim/%s", kinds[i]);
		code = measure(bench, kinds[i], &rate);
		if (code == AQM_OK)
			code = aqm_bench_add(bench, name, rate, "Mpkt/s", limit, "a plain fifo");
	}
	return code;
}
