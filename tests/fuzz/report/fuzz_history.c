/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Any bytes are a metrics.jsonl, or an evaluation: the page has no tag in it that is not ours. The first byte picks which.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "report/page.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_run(struct aqm_report_run *run, uint8_t kind, const char *text, size_t bytes)
{
	static const char *const names[] = {"eval.json", "closed-loop.json", "replay-10.json", "bench.json"};
	int code = kind % 5 == 0 ? aqm_history_parse(&run->history, text, bytes)
	                         : aqm_report_add_document(run, names[kind % 5 - 1], text, bytes);

	if (code != AQM_OK || aqm_config_init(&run->config) != AQM_OK || aqm_report_name_runs(run, 1) != AQM_OK)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct aqm_report_options options = {.paper = true};
	struct aqm_report_run run = {.path = "run"};
	struct aqm_page page = {.options = &options, .runs = &run, .run_count = 1, .plotless = true};
	char *text = NULL;
	size_t bytes;

	if (!size)
		return 0;
	read_run(&run, (uint8_t)(data[0] - '0'), (const char *)data + 1, size - 1);
	page.out = open_memstream(&text, &bytes);
	if (!page.out || aqm_page_write(&page) != AQM_OK || fclose(page.out) != 0)
		abort();
	if (strlen(text) != bytes || strstr(text, "<script") || strstr(text, "<img"))
		abort();
	free(text);
	aqm_report_run_release(&run);
	return 0;
}
