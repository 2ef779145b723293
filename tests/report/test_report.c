/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Whole reports, of run folders made here: harmless, hostile, half there.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "../check.h"
#include "aqmtrain/report.h"
#include "base/file.h"
#include "helper_html.h"

static const char config[] = "seed: 3\nmodel:\n  path: base.gguf\npool:\n  train: train.h5\n  eval: eval.h5\n"
							 "lora:\n  rank: 4\ntrain:\n  epochs: 2\n";

static const char metrics[] =
	"{\"step\":1,\"epoch\":1,\"loss\":0.9,\"lr\":0.001,\"grad_norm\":2,\"elapsed_s\":1}\n"
	"{\"loss\":0.8,\"accuracy\":0.6,\"split\":\"train\",\"step\":1,\"epoch\":1,\"elapsed_s\":1}\n"
	"{\"rows\":100,\"loss\":0.7,\"accuracy\":0.85,\"macro_f1\":0.5,\"balanced_accuracy\":0.5,\"confusion\":[[80,3,2],[5,5,0],[3,1,1]],"
	"\"split\":\"eval\",\"step\":1,\"epoch\":1,\"elapsed_s\":2,\"baselines\":{\"majority\":{\"accuracy\":0.85,\"macro_f1\":0.31}}}\n"
	"{\"step\":2,\"epoch\":2,\"loss\":0.5,\"lr\":0.001,\"grad_norm\":1,\"elapsed_s\":3}\n"
	"{\"loss\":0.5,\"accuracy\":0.8,\"split\":\"train\",\"step\":2,\"epoch\":2,\"elapsed_s\":3}\n"
	"{\"rows\":100,\"loss\":0.6,\"accuracy\":0.9,\"macro_f1\":0.7,\"balanced_accuracy\":0.6,\"confusion\":[[84,1,0],[2,8,0],[3,1,1]],"
	"\"split\":\"eval\",\"step\":2,\"epoch\":2,\"elapsed_s\":4,\"baselines\":{\"majority\":{\"accuracy\":0.85,\"macro_f1\":0.31}}}\n";

static const char evaluation[] =
	"{\"rows\":100,\"loss\":0.6,\"accuracy\":0.9,\"macro_f1\":0.7,\"balanced_accuracy\":0.6,\"per_class\":{\"drop\":{\"f1\":0.8}},"
	"\"confusion\":[[84,1,0],[2,8,0],[3,1,1]],\"returns\":\"logged\",\"command\":\"aqmtrain eval -r run\",\"baselines\":{\"majority\":"
	"{\"accuracy\":0.85,\"macro_f1\":0.31,\"action\":\"enqueue\"},\"tree\":{\"accuracy\":0.88,\"macro_f1\":0.66}}}";

#define F(mean, low, high) "{\"mean\":" #mean ",\"low\":" #low ",\"high\":" #high ",\"n\":10}"
#define AQM(name, policy, utilisation, l99, utility, difference)                                                               \
	"{\"name\":" name ",\"label\":" name ",\"policy\":" policy ",\"trivial\":false,\"utilisation\":" utilisation                \
	",\"delay_ms\":{\"L\":{\"p50\":" l99 ",\"p99\":" l99 "},\"C\":{\"p99\":" l99 "}},\"rate_ratio\":null,\"utility\":" utility   \
	",\"difference\":{\"utility\":" difference "},\"cdf\":{\"L\":[[0.1,0.01],[1,0.5],[5,0.99]],\"C\":[[0,0.1],[2,1]]},"          \
	"\"series\":{\"t\":[0,1,2],\"delay_L_ms\":[1,2,null],\"delay_C_ms\":[1,2,3],\"rate_mbps\":[10,20,30]}}"
#define AQMS(ours)                                                                                                             \
	"[" AQM("\"fifo\"", "false", F(0.99, 0.98, 1.0), F(50, 40, 60), F(-9, -10, -8), F(-20, -21, -19)) ","                         \
	AQM("\"dualpi2\"", "false", F(0.98, 0.97, 0.99), F(1, 0.9, 1.1), F(83, 82, 84), F(0, 0, 0)) ","                               \
	AQM(ours, "true", F(0.98, 0.97, 0.99), F(0.8, 0.7, 0.9), F(84, 83, 85), F(1, 0.5, 1.5)) "]"
#define CLOSED_LOOP(name, ours)                                                                                                \
	"{\"kind\":\"closed-loop\",\"name\":" name ",\"command\":\"aqmtrain eval --closed-loop\",\"baseline\":\"dualpi2\",\"seeds\":[1,2]," \
	"\"cells\":[{\"name\":\"cell\",\"trained\":true,\"aqms\":" AQMS(ours) "},{\"name\":\"other\",\"aqms\":" AQMS(ours) "}],"           \
	"\"overall\":{\"aqms\":" AQMS(ours) "},\"sweep\":[{\"target_return\":1,\"return\":" F(1, 0.5, 1.5) ",\"utility\":" F(3, 2, 4) "}," \
	"{\"target_return\":2,\"return\":" F(2, 1.5, 2.5) ",\"utility\":" F(4, 3, 5) "}],\"generalisation\":{\"trained\":[\"cell\"],\"policies\":[{\"aqm\":" ours ",\"inside\":" F(7, 6, 8) ",\"outside\":null}]}}"

static void put(const char *folder, const char *name, const char *text)
{
	char *path = aqm_path_join(folder, name);

	CHECK_OK(aqm_file_write(path, text, strlen(text)));
	free(path);
}

static void make_run(const char *folder)
{
	CHECK_OK(aqm_remove_tree(folder));
	CHECK_OK(aqm_make_folders(folder));
	put(folder, "config.yaml", config);
	put(folder, "metrics.jsonl", metrics);
}

/* The report of some runs; owned by the caller. It is well-formed, complete by itself, and has words for its pictures. */
static char *report(const char *const *runs, size_t count, bool paper, bool *plotted)
{
	struct aqm_report_options options = {.run_paths = runs, .run_count = count, .output = "report.html", .paper = paper,
	                                     .command = "aqmtrain report <&>"};
	char *text;
	size_t bytes;

	CHECK_OK(aqm_report_write(&options, plotted));
	CHECK_OK(aqm_file_read("report.html", 1 << 24, &text, &bytes));
	assert_int_equal(strlen(text), bytes);
	const char *fault = html_fault(text);
	if (fault)
		fail_msg("%s", fault);
	return text;
}

static void expect_in_order(const char *text, const char *const *words)
{
	const char *at = text;

	for (; *words; words++) {
		const char *found = strstr(at, *words);

		if (!found)
			fail_msg("'%s' is missing, or not behind what was before it", *words);
		at = found + strlen(*words);
	}
}

static void baselines_come_first(void **state)
{
	const char *const runs[] = {"plain"};
	bool plotted;

	(void)state;
	make_run("plain");
	put("plain", "eval.json", evaluation);
	char *text = report(runs, 1, false, &plotted);
	expect_in_order(text, (const char *const[]){"id=\"verdict\"", "majority class", "always enqueue", "0.8500", "decision tree", "0.8800",
	                                            "plain", "0.9000", "0.7000", "beats both", "plain/eval.json", "aqmtrain eval -r run",
	                                            "id=\"training\"", "id=\"loss\"", "plain/metrics.jsonl", "id=\"confusion\"", "84",
	                                            "id=\"inputs\"", "lora.rank", "aqmtrain report &lt;&amp;&gt;", NULL});
	free(text);
}

/* Figures of rows that were trained on are no verdict, and stand for the run only where there are no others. */
static void trained_rows_decide_nothing(void **state)
{
	const char *const runs[] = {"plain"};
	char known[sizeof evaluation + 64];
	bool plotted;

	(void)state;
	make_run("plain");
	snprintf(known, sizeof known, "{\"trained_on\":true,\"policy\":\"last\",%s", evaluation + 1);
	put("plain", "eval-a.json", known);
	char *text = report(runs, 1, false, &plotted);
	expect_in_order(text, (const char *const[]){"macro-F1, on its own training rows", "100 rows", "none: trained on these rows", NULL});
	assert_null(strstr(text, "beats both"));
	free(text);
	put("plain", "eval-b.json", evaluation);
	text = report(runs, 1, false, &plotted);
	expect_in_order(text, (const char *const[]){"macro-F1, held out", "beats both", NULL});
	free(text);
}

static void training_alone_is_shown(void **state)
{
	const char *const runs[] = {"plain"};
	bool plotted;

	(void)state;
	make_run("plain");
	char *text = report(runs, 1, false, &plotted);
	expect_in_order(text, (const char *const[]){"majority class", "not measured", "last epoch", "no tree measured", NULL});
	free(text);
	put("plain", "metrics.jsonl", "");
	text = report(runs, 1, false, &plotted);
	assert_non_null(strstr(text, "Nothing was measured on held-out rows"));
	assert_null(strstr(text, "id=\"training\""));
	free(text);
}

static void differences_between_runs_are_marked(void **state)
{
	const char *const runs[] = {"one", "two"};
	bool plotted;

	(void)state;
	make_run("one");
	make_run("two");
	put("two", "config.yaml", "seed: 3\nmodel:\n  path: base.gguf\npool:\n  train: train.h5\n  eval: eval.h5\nlora:\n  rank: 16\ntrain:\n  epochs: 2\n");
	put("two", "run.json", "{\"version\":\"0.1.0\",\"finished\":true,\"trainable\":1234567,\"train\":{\"path\":\"t.h5\",\"sha256\":\"abc\",\"rows\":10,"
	                       "\"episodes\":1,\"actions\":{\"enqueue\":8,\"drop\":1,\"mark\":1}}}");
	char *text = report(runs, 2, false, &plotted);
	expect_in_order(text, (const char *const[]){"<tr class=\"diff\"><th scope=\"row\">lora.rank", "<code>4</code>", "<code>16</code>", NULL});
	expect_in_order(text, (const char *const[]){"<tr><th scope=\"row\">train.epochs", "<code>2</code>", "<code>2</code>", NULL});
	expect_in_order(text, (const char *const[]){"its SHA-256", "not recorded", "abc", "enqueue 8 (80.00 %)", NULL});
	free(text);
}

static void update_control_has_its_own_verdict(void **state)
{
	const char *const runs[] = {"update", "plain"};
	bool plotted;

	(void)state;
	make_run("plain");
	make_run("update");
	put("update", "config.yaml", "control: update\nmodel:\n  path: base.gguf\npool:\n  train: t.h5\n");
	put("update", "metrics.jsonl",
	    "{\"loss\":0.8,\"within_10_percent\":0.2,\"split\":\"train\",\"step\":2,\"epoch\":1}\n"
	    "{\"rows\":50,\"loss\":0.7,\"log_rmse\":0.6,\"log_mae\":0.3,\"within_10_percent\":0.21,\"split\":\"eval\",\"step\":2,\"epoch\":1,"
	    "\"baselines\":{\"persistence\":{\"log_rmse\":0.5,\"log_mae\":0.2,\"within_10_percent\":0.2}}}\n");
	char *text = report(runs, 2, false, &plotted);
	expect_in_order(text, (const char *const[]){"50 update intervals", "persistence", "0.5000", "update", "0.6000", "no better than persistence",
	                                            "id=\"update-error\"", NULL});
	free(text);
}

static void closed_loop_is_shown(void **state)
{
	const char *const runs[] = {"one", "two"};
	bool plotted;

	(void)state;
	make_run("one");
	make_run("two");
	CHECK_OK(aqm_make_folders("one/closed-loop"));
	CHECK_OK(aqm_make_folders("two/closed-loop"));
	put("one/closed-loop", "steady.json", CLOSED_LOOP("\"steady\"", "\"policy\""));
	put("one/closed-loop", "results.jsonl", "{}\n");
	put("two/closed-loop", "steady.json", CLOSED_LOOP("\"steady\"", "\"policy\""));
	char *text = report(runs, 2, false, &plotted);
	/* One table: the baselines once, then the policies of both. */
	expect_in_order(text, (const char *const[]){"id=\"closed-loop\"", "<h3>steady</h3>", "fifo", "dualpi2", "the measure", "one: policy", "+1.00",
	                                            "two: policy", "+1.00", "</table>", "id=\"delay-utilisation-1\"", "id=\"cdf-l-1\"",
	                                            "id=\"delay-l-1\"", "id=\"rate-1\"", "id=\"sweep-return-1\"", "Beyond what it was trained on",
	                                            "one: policy", "7.00", "two: policy", "7.00", "Cell by cell", "one: policy", "two: policy", NULL});
	assert_null(strstr(text, "id=\"cdf-l-2\""));
	assert_null(strstr(text, "made with"));
	free(text);
}

/* Curves are of one cell, by name in every file; files of one name that were made differently are not passed over. */
static void the_cell_that_is_drawn_is_said(void **state)
{
	const char *const runs[] = {"one", "two"};
	struct aqm_report_options options = {.run_paths = runs, .run_count = 2, .output = "report.html", .cell = "other"};
	char *text;
	size_t bytes;
	bool plotted;

	(void)state;
	make_run("one");
	make_run("two");
	CHECK_OK(aqm_make_folders("one/closed-loop"));
	CHECK_OK(aqm_make_folders("two/closed-loop"));
	put("one/closed-loop", "a.json", CLOSED_LOOP("\"steady\"", "\"policy\""));
	put("two/closed-loop", "a.json", "{\"kind\":\"closed-loop\",\"name\":\"steady\",\"baseline\":\"dualpi2\",\"seeds\":[3],\"cells\":["
	                                 "{\"name\":\"third\",\"aqms\":" AQMS("\"policy\"") "}]}");
	text = report(runs, 2, false, &plotted);
	expect_in_order(text, (const char *const[]){"<b>two/closed-loop/a.json</b>: made with other cells, other seeds than what stands first", "one/closed-loop/a.json",
	                                            "one cell of 2, number 1: <code>cell</code>", "Delay of the L queue: cell", NULL});
	char *figure = strstr(text, "id=\"cdf-l-1\""), *end = strstr(figure, "</figure>");
	*end = '\0';
	assert_non_null(strstr(figure, "one: policy"));
	assert_null(strstr(figure, "two: policy")); /* it was never there */
	free(text);

	CHECK_OK(aqm_report_write(&options, &plotted));
	CHECK_OK(aqm_file_read("report.html", 1 << 24, &text, &bytes));
	expect_in_order(text, (const char *const[]){"number 2: <code>other</code>", "Delay of the L queue: other", NULL});
	free(text);
	options.cell = "nowhere";
	assert_int_equal(aqm_report_write(&options, &plotted), AQM_EUSAGE);
	assert_non_null(strstr(aqm_error_message(), "'nowhere'"));
}

/* Where a report was made is nobody's business: of absolute paths the run's name is left. */
static void absolute_paths_stay_at_home(void **state)
{
	char *here = realpath(".", NULL), *path = aqm_path_join(here, "one");
	const char *const runs[] = {path};
	bool plotted;

	(void)state;
	make_run("one");
	CHECK_OK(aqm_make_folders("one/closed-loop"));
	put("one/closed-loop", "a.json", CLOSED_LOOP("\"steady\"", "\"policy\""));
	char *text = report(runs, 1, true, &plotted);
	assert_null(strstr(text, here));
	assert_non_null(strstr(text, "one/closed-loop/a.json, written by"));
	assert_non_null(strstr(text, "aqmtrain train -c one/config.yaml"));
	free(text);
	free(path);
	free(here);
}

static void papers_values_stand_beside_ours(void **state)
{
	const char *const runs[] = {"plain"};
	bool plotted;

	(void)state;
	make_run("plain");
	put("plain", "run.json", "{\"base\":{\"architecture\":\"opt\"},\"trainable\":61891,\"memory_peak_bytes\":82000000,\"elapsed_s\":3600}");
	put("plain", "replay-10.json",
	    "{\"kind\":\"replay\",\"interval\":10,\"rows\":4,\"repeated_share\":0.75,\"logged\":{\"quantiles\":{\"median\":5},\"delay_ms\":[0,5,10,50],"
	    "\"throughput\":[1,2,3,4]},\"policy\":{\"delay_ms\":[0,0,0,10],\"throughput\":[4,4,4,1]}}");
	put("plain", "bench.json", "[{\"name\":\"decide/tiny\",\"value\":2.5,\"unit\":\"ms\"}]");
	char *text = report(runs, 1, true, &plotted);
	expect_in_order(text, (const char *const[]){"id=\"paper\"", "OPT 1.3B", "published", "0.8756", "plain", "GPT-2", "the entropy of the class shares",
	                                            "each 10th packet", "0.525", "as logged", "each 10th packet", "75.0", "3,539 of 3,600",
	                                            "id=\"paper-9\"", "id=\"paper-14\"", "25,165,824", "plain", "61,891", "0.00250", "1.000", "22.3 h",
	                                            "id=\"paper-18\"", NULL});
	free(text);
	text = report(runs, 1, false, &plotted);
	assert_null(strstr(text, "id=\"paper\""));
	free(text);
}

/* Names that want to be markup, shell or gnuplot; numbers of any type and size. */
static void hostile_runs_do_no_harm(void **state)
{
	const char *const runs[] = {"<b>\"&'`touch pwned`", "bad"};
	bool plotted;

	(void)state;
	make_run(runs[0]);
	make_run("bad");
	put(runs[0], "config.yaml", "model:\n  path: \"</td><script>alert(1)</script>\"\npool:\n  train: \"`touch pwned`\"\n");
	put(runs[0], "eval.json",
	    "{\"rows\":\"<script>\",\"macro_f1\":1e308,\"accuracy\":-1e308,\"returns\":\"<script>\",\"policy\":\"<img src=x>\",\"confusion\":[[1e308,1e308],[],"
	    "{\"a\":1}],\"command\":\"</code><script>\",\"pool\":{\"path\":\"<script>\",\"sha256\":\"\\u0001\"},\"baselines\":{\"majority\":{\"action\":"
	    "\"<script>\",\"macro_f1\":-0.0}}}");
	CHECK_OK(aqm_make_folders("bad/closed-loop"));
	put("bad/closed-loop", "a.json", CLOSED_LOOP("\"<script>' `touch pwned` $(touch pwned)\"", "\"'; system('touch pwned') #\\nEND_OF_DATA\\n<script>\""));
	put("bad/closed-loop", "b.json", "{\"kind\":\"closed-loop\",\"cells\":[1],\"overall\":{\"aqms\":[1,null,{\"policy\":true}]},\"sweep\":[1]}");
	put("bad/closed-loop", "c.json", "{\"kind\":\"closed-loop\",\"cells\":[{\"aqms\":[{\"cdf\":{\"L\":[[1e308,1e308],[1e-308,0],[\"x\"]]},\"utilisation\":1e308}]}]}");
	put("bad", "replay-1.json", "{\"interval\":1e99,\"policy\":{}}");
	put("bad", "replay-2.json", "{\"interval\":10,\"policy\":{\"delay_ms\":{}},\"logged\":3}");
	put("bad", "metrics.jsonl", "{\"step\":1e300,\"epoch\":-1e300,\"loss\":1e300,\"split\":\"eval\"}\n{\"step\":1,\"loss\":-1,\"grad_norm\":0}\nnonsense");
	put("bad", "bench.json", "{\"broken\":");
	put("bad", "run.json", "[1,2]");
	char *text = report(runs, 2, true, &plotted);
	assert_null(strstr(text, "<script"));
	assert_null(strstr(text, "<img"));
	assert_non_null(strstr(text, "&lt;script&gt;"));
	assert_non_null(strstr(text, "bench.json is not read"));
	assert_non_null(strstr(text, "1 of 3 lines are damaged"));
	assert_false(aqm_path_exists("pwned"));
	free(text);
}

static void without_gnuplot_there_are_tables(void **state)
{
	const char *const runs[] = {"plain"};
	char *path = strdup(getenv("PATH"));
	bool plotted;

	(void)state;
	make_run("plain");
	setenv("PATH", "/nowhere", 1);
	char *text = report(runs, 1, true, &plotted);
	setenv("PATH", path, 1);
	free(path);
	assert_false(plotted);
	assert_non_null(strstr(text, "There are no plots: gnuplot is not installed"));
	assert_non_null(strstr(text, "<details open=\"open\">"));
	assert_null(strstr(text, "role=\"img\""));
	free(text);
}

static void pngs_are_written(void **state)
{
	struct aqm_report_options options = {.run_paths = (const char *const[]){"plain"}, .run_count = 1, .output = "report.html", .png_folder = "png"};
	bool plotted;

	(void)state;
	make_run("plain");
	CHECK_OK(aqm_remove_tree("png"));
	CHECK_OK(aqm_report_write(&options, &plotted));
	assert_int_equal(aqm_path_exists("png/loss.png"), plotted);
	if (!plotted)
		skip();
}

static void errors_are_told(void **state)
{
	struct aqm_report_options options = {.run_paths = (const char *const[]){"nothing"}, .run_count = 1, .output = "other.html"};
	bool plotted;

	(void)state;
	CHECK_OK(aqm_remove_tree("nothing"));
	assert_int_equal(aqm_report_write(&options, &plotted), AQM_EDATA);
	assert_non_null(strstr(aqm_error_message(), "'nothing' holds no run"));
	assert_false(aqm_path_exists("other.html"));
	make_run("plain");
	options.run_paths = (const char *const[]){"plain"};
	options.output = "no-such-folder/report.html";
	assert_int_equal(aqm_report_write(&options, &plotted), AQM_ERUN);
	options.run_count = 0;
	assert_int_equal(aqm_report_write(&options, &plotted), AQM_EUSAGE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(baselines_come_first),
		cmocka_unit_test(training_alone_is_shown),
		cmocka_unit_test(differences_between_runs_are_marked),
		cmocka_unit_test(update_control_has_its_own_verdict),
		cmocka_unit_test(trained_rows_decide_nothing),
		cmocka_unit_test(closed_loop_is_shown),
		cmocka_unit_test(the_cell_that_is_drawn_is_said),
		cmocka_unit_test(absolute_paths_stay_at_home),
		cmocka_unit_test(papers_values_stand_beside_ours),
		cmocka_unit_test(hostile_runs_do_no_harm),
		cmocka_unit_test(without_gnuplot_there_are_tables),
		cmocka_unit_test(pngs_are_written),
		cmocka_unit_test(errors_are_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
