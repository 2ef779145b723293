/* SPDX-License-Identifier: BSD-2-Clause
 *
 * aqmtrain eval --replay: what the paper called evaluation.
 */
#include <stdlib.h>

#include "base/file.h"
#include "cli/cmd_eval.h"
#include "cli/command.h"

int aqm_cli_eval_replay(const struct eval_arguments *a)
{
	char *last = a->options.last ? aqm_path_join(a->options.run_path, "policy.h5") : NULL, *text = NULL, *json = NULL;
	const struct aqm_replay_options o = {
		.policy_path = last ? last : a->options.run_path,
		.base_path = a->options.base_path,
		.pool_path = a->options.pool_path,
		.device = a->options.device,
		.interval = a->interval,
	};
	struct aqm_replay_result result;
	int code = aqm_replay(&o, &result);

	if (code == AQM_OK) {
		code = aqm_replay_format(&result, &o, a->command, false, &text);
		if (code == AQM_OK)
			code = aqm_replay_format(&result, &o, a->command, true, &json);
		if (code == AQM_OK)
			code = aqm_cli_eval_output(a, text, json);
		aqm_replay_release(&result);
	}
	free(last);
	free(text);
	free(json);
	return code == AQM_OK ? 0 : aqm_cli_fail(code);
}
