/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A report: read the runs, write the page.
 */
#include "aqmtrain/report.h"

#include <stdlib.h>

#include "base/file.h"
#include "base/size.h"
#include "report/page.h"

static int read_runs(struct aqm_report_run *runs, const struct aqm_report_options *options)
{
	int code = AQM_OK;

	for (size_t i = 0; i < options->run_count; i++)
		for (size_t k = 0; k < i; k++) /* nobody could tell the two columns apart */
			if (aqm_path_same(options->run_paths[i], options->run_paths[k]))
				return aqm_error_set(AQM_EUSAGE, "run '%s' is named twice", options->run_paths[i]);
	for (size_t i = 0; i < options->run_count && code == AQM_OK; i++)
		code = aqm_report_run_read(&runs[i], options->run_paths[i]);
	return code == AQM_OK ? aqm_report_name_runs(runs, options->run_count) : code;
}

/* The page goes into no file that it is made of. */
static int spare_run(const struct aqm_report_run *run, const char *output)
{
	static const char *const own[] = {"config.yaml", "run.json", "metrics.jsonl"};
	const size_t own_count = sizeof own / sizeof *own;
	int code = AQM_OK;

	for (size_t i = 0; i < own_count + run->document_count && code == AQM_OK; i++) {
		char *path = aqm_path_join(run->path, i < own_count ? own[i] : run->documents[i - own_count].name);

		code = path ? aqm_path_spare(path, output) : AQM_ERUN;
		free(path);
	}
	return code;
}

static int write_page(struct aqm_page *page, const char *path)
{
	char *text = NULL;
	size_t bytes;

	page->out = open_memstream(&text, &bytes);
	if (!page->out)
		return aqm_error_errno(AQM_ERUN, "cannot write '%s'", path);
	int code = aqm_page_write(page);
	bool good = !ferror(page->out);
	if (fclose(page->out) != 0 || !good)
		code = aqm_error_set(AQM_ERUN, "no memory to write '%s'", path);
	if (code == AQM_OK)
		code = aqm_file_write(path, text, bytes);
	free(text);
	return code;
}

int aqm_report_write(const struct aqm_report_options *options, bool *plotted)
{
	*plotted = false;
	if (options->run_count < 1 || options->run_count > AQM_REPORT_RUNS_MAX)
		return aqm_error_set(AQM_EUSAGE, "a report wants 1 to %d runs, not %zu", AQM_REPORT_RUNS_MAX,
		                     options->run_count);
	struct aqm_report_run *runs = aqm_calloc_array(options->run_count, sizeof *runs);
	struct aqm_page page = {.options = options, .runs = runs, .run_count = options->run_count};
	int code = runs ? read_runs(runs, options) : AQM_ERUN;

	for (size_t i = 0; i < options->run_count && code == AQM_OK; i++)
		code = spare_run(&runs[i], options->output);
	if (code == AQM_OK && options->png_folder)
		code = aqm_make_folders(options->png_folder);
	if (code == AQM_OK)
		code = write_page(&page, options->output);
	*plotted = !page.plotless;
	for (size_t i = 0; runs && i < options->run_count; i++)
		aqm_report_run_release(&runs[i]);
	free(runs);
	return code;
}
