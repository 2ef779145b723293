/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The closed loop from its options to its summary.
 */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/size.h"
#include "eval/closed.h"

static char *choose_folder(const struct aqm_closed_options *o)
{
	if (o->folder)
		return aqm_strdup(o->folder);
	if (o->run_path)
		return aqm_path_join(o->run_path, "closed-loop");
	aqm_error_set(AQM_EUSAGE, "without a run, the results want a folder (-o)");
	return NULL;
}

static int write_summary(const struct aqm_closed_plan *plan, const char *folder, char **json)
{
	json_t *root = aqm_closed_summary(plan);
	char *name = aqm_strprintf("%s/%s.json", folder, plan->name);

	*json = root ? json_dumps(root, JSON_INDENT(1) | JSON_REAL_PRECISION(9)) : NULL;
	json_decref(root);
	char *text = *json ? aqm_strprintf("%s\n", *json) : NULL;
	free(*json);
	*json = text;
	int code = text && name ? aqm_file_write(name, text, strlen(text)) : aqm_error_set(AQM_ERUN, "no memory");
	free(name);
	return code;
}

static int print(const struct aqm_closed_plan *plan, char **text)
{
	size_t bytes;
	FILE *out = open_memstream(text, &bytes);

	if (!out)
		return aqm_error_errno(AQM_ERUN, "cannot format the evaluation");
	aqm_closed_print(plan, out);
	return fclose(out) == 0 ? AQM_OK : aqm_error_errno(AQM_ERUN, "cannot format the evaluation");
}

int aqm_closed_loop(const struct aqm_closed_options *options, char **text)
{
	struct aqm_closed_plan plan;
	struct aqm_closed_file file = {0};
	struct aqm_closed_results results = {0};
	char *folder = NULL, *json = NULL;
	int code = aqm_closed_plan_init(&plan, options);

	*text = NULL;
	if (code == AQM_OK && !(folder = choose_folder(options)))
		code = AQM_EUSAGE;
	if (code == AQM_OK)
		code = aqm_closed_file_open(&file, folder, plan.utility_name, &results);
	if (code == AQM_OK)
		code = aqm_closed_simulate(&plan, &file, &results);
	if (code == AQM_OK)
		code = write_summary(&plan, folder, &json);
	if (code == AQM_OK && options->json) {
		*text = json;
		json = NULL;
	} else if (code == AQM_OK) {
		code = print(&plan, text);
	}
	aqm_closed_file_close(&file);
	aqm_closed_results_release(&results);
	aqm_closed_plan_release(&plan);
	free(folder);
	free(json);
	return code;
}
