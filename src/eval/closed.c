/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The closed loop from its options to its summary.
 */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/size.h"
#include "eval/closed.h"
#include "ranks/ranks.h"

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

/* Ranks that are to simulate one thing: what would make them part ways, by name. */
static int compare_ranks(const struct aqm_closed_plan *plan, aqm_ranks *ranks)
{
	int code = aqm_ranks_same(ranks, "the version of aqmtrain", AQM_VERSION);

	if (code == AQM_OK)
		code = aqm_ranks_same(ranks, "the program's SHA-256", plan->program);
	if (code == AQM_OK)
		code = aqm_ranks_same(ranks, "the policy's SHA-256", plan->policy_digest);
	return code;
}

/* The summary and its text, on rank 0. */
static int conclude(const struct aqm_closed_plan *plan, const char *folder, char **text)
{
	char *json = NULL;
	int code = write_summary(plan, folder, &json);

	if (code == AQM_OK && plan->options->json) {
		*text = json;
		return AQM_OK;
	}
	free(json);
	return code == AQM_OK ? print(plan, text) : code;
}

int aqm_closed_loop(const struct aqm_closed_options *options, char **text)
{
	aqm_ranks *ranks = options->ranks;
	bool first = aqm_ranks_first(ranks);
	struct aqm_closed_plan plan;
	struct aqm_closed_file file = {0};
	struct aqm_closed_results results = {0};
	char *folder = NULL;
	int code = aqm_closed_plan_init(&plan, options);

	*text = NULL;
	if (code == AQM_OK && !(folder = choose_folder(options)))
		code = AQM_EUSAGE;
	if (code == AQM_OK && first)
		code = aqm_closed_file_open(&file, folder, plan.utility_name, &results);
	code = aqm_ranks_agree(ranks, code);
	if (code == AQM_OK)
		code = compare_ranks(&plan, ranks);
	if (code == AQM_OK)
		code = aqm_closed_simulate(&plan, &file, &results);
	if (code == AQM_OK)
		code = aqm_ranks_agree(ranks, first ? conclude(&plan, folder, text) : AQM_OK);
	aqm_closed_file_close(&file);
	aqm_closed_results_release(&results);
	aqm_closed_plan_release(&plan);
	free(folder);
	return code;
}
