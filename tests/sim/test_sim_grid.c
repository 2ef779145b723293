/* SPDX-License-Identifier: BSD-2-Clause */
/* Grids: their cells, in order; what is drawn; overrides; what is wrong ends in one clear line. */
#include <math.h>
#include <string.h>

#include "../check.h"
#include "aqmtrain/sim.h"

static const char text[] = "name: test\n"
						   "base: {seconds: 7, link: {rate: 9}}\n"
						   "axes:\n"
						   "  mix: [one, two]\n"
						   "  aqm.kind: [fifo, pie]\n"
						   "  flows.rtt: [5, 50, 500]\n"
						   "  link.acks: shared\n"
						   "mixes:\n"
						   "  one: [{cc: reno}]\n"
						   "  two: [{cc: prague, count: 3}, {cc: udp, rate: 2}]\n"
						   "seeds: 2\n"
						   "draws: 3\n"
						   "random:\n"
						   "  link.delay: [1, 100]\n"
						   "  link.jitter: [0, 4]\n"
						   "  aqm.target: [5, 30]\n"
						   "  flows.count: [1, 4]\n"
						   "  epsilon: [0, 0.5]\n";

static struct aqm_grid *parse(const char *yaml, const char *const *overrides, size_t count)
{
	struct aqm_grid *grid;

	CHECK_OK(aqm_grid_parse(&grid, "t", yaml, strlen(yaml), overrides, count));
	return grid;
}

static void cells_in_order(void **state)
{
	struct aqm_grid *grid = parse(text, NULL, 0);
	static const double rtts[] = {5, 50, 500};
	struct aqm_cell cell;

	(void)state;
	assert_string_equal(aqm_grid_name(grid), "test");
	assert_int_equal(aqm_grid_cells(grid), 2 * 2 * 3 * 1 * 3 * 2);
	assert_int_equal(aqm_grid_axes(grid), 6);
	assert_string_equal(aqm_grid_axis(grid, 5).key, "seed");
	for (size_t i = 0; i < aqm_grid_cells(grid); i++) {
		size_t mix = i / 36, kind = i / 18 % 2, rtt = i / 6 % 3;

		CHECK_OK(aqm_grid_cell(grid, i, &cell));
		assert_int_equal(aqm_grid_place(grid, i, 0), mix);
		assert_int_equal(aqm_grid_place(grid, i, 2), rtt);
		assert_int_equal(aqm_grid_place(grid, i, 5), i % 2);
		assert_int_equal(cell.scenario.seed, 1 + i % 2);
		assert_true(cell.scenario.seconds == 7 && cell.scenario.link.rate == 9);
		assert_int_equal(cell.scenario.link.acks, AQM_ACKS_SHARED);
		assert_int_equal(cell.scenario.flow_count, 1 + mix);
		assert_string_equal(cell.scenario.flows[0].cc, mix ? "prague" : "reno");
		assert_string_equal(cell.scenario.aqm.kind, kind ? "pie" : "fifo");
		for (size_t f = 0; f < cell.scenario.flow_count; f++)
			assert_true(cell.scenario.flows[f].rtt == rtts[rtt]);
		CHECK_OK(aqm_scenario_check(&cell.scenario));
		aqm_cell_release(&cell);
	}
	CHECK_OK(aqm_grid_cell(grid, 41, &cell));
	assert_string_equal(cell.name, "mix=two aqm.kind=fifo flows.rtt=5 draw=3 seed=2");
	aqm_cell_release(&cell);
	aqm_grid_free(grid);
}

/* A cell is the same each time; cells of a group share link and traffic, and differ in what the AQM does. */
static void draws(void **state)
{
	struct aqm_grid *grid = parse(text, NULL, 0);
	size_t cells = aqm_grid_cells(grid), below = 0, drawn = 0;
	struct aqm_cell a, b;

	(void)state;
	for (size_t i = 0; i < cells; i++) {
		CHECK_OK(aqm_grid_cell(grid, i, &a));
		assert_true(a.scenario.link.delay >= 1 && a.scenario.link.delay <= 100);
		assert_true(a.scenario.link.jitter >= 0 && a.scenario.link.jitter <= 4);
		assert_true(a.scenario.aqm.target >= 5 && a.scenario.aqm.target <= 30);
		assert_true(a.scenario.flows[0].count >= 1 && a.scenario.flows[0].count <= 4);
		assert_true(a.epsilon >= 0 && a.epsilon <= 0.5);
		for (size_t j = 0; j < cells; j++) {
			CHECK_OK(aqm_grid_cell(grid, j, &b));
			bool same = aqm_grid_group(grid, i) == aqm_grid_group(grid, j);
			assert_true((a.scenario.link.delay == b.scenario.link.delay) == same);
			assert_true((a.scenario.aqm.target == b.scenario.aqm.target) == (i == j));
			assert_true((a.epsilon == b.epsilon) == (i == j));
			aqm_cell_release(&b);
		}
		if (aqm_grid_place(grid, i, 1) == 0 && aqm_grid_place(grid, i, 4) == 0) { /* one of each group */
			below += a.scenario.link.delay < 10;
			drawn++;
		}
		aqm_cell_release(&a);
	}
	assert_true(below > drawn / 4 && below < drawn * 3 / 4); /* on a logarithmic scale 10 is the middle */
	aqm_grid_free(grid);
}

static void overrides_replace(void **state)
{
	static const char *const set[] = {"flows.rtt=20", "aqm.target=3,4", "seeds=9,11", "draws=1", "epsilon=0.25",
	                                  "warmup=1"};
	struct aqm_grid *grid = parse(text, set, sizeof set / sizeof *set);
	struct aqm_cell cell;

	(void)state;
	assert_int_equal(aqm_grid_cells(grid), 2 * 2 * 1 * 1 * 1 * 2 * 1 * 2);
	CHECK_OK(aqm_grid_cell(grid, aqm_grid_cells(grid) - 1, &cell));
	assert_true(cell.scenario.flows[0].rtt == 20 && cell.scenario.aqm.target == 4 && cell.scenario.warmup == 1);
	assert_true(cell.scenario.seed == 11 && cell.epsilon == 0.25);
	aqm_cell_release(&cell);
	aqm_grid_free(grid);
	grid = parse(text, (const char *const[]){"seeds=4"}, 1);
	assert_int_equal(aqm_grid_cells(grid), 2 * 2 * 3 * 3 * 4);
	aqm_grid_free(grid);
	grid = parse(text, (const char *const[]){"seed=4"}, 1);
	assert_int_equal(aqm_grid_cells(grid), 2 * 2 * 3 * 3);
	CHECK_OK(aqm_grid_cell(grid, 0, &cell));
	assert_int_equal(cell.scenario.seed, 4);
	aqm_cell_release(&cell);
	aqm_grid_free(grid);
}

static void wrong_grids_say_so(void **state)
{
	static const struct {
		const char *text, *says, *set;
	} cases[] = {
		{"axes: {link.rate: [5, 0]}", "t:1:19: 'rate' wants a number from 0.001", NULL},
		{"axes: {link.sorget: [5]}", "t:1:8: a scenario has no 'link.sorget'", NULL},
		{"axes: {link.rate: [5], link.rate: [5]}", "t:1:24: 'link.rate' stands here a second time", NULL},
		{"axes: {link.rate: [5, 6, 5.0]}", "t:1:26: 'link.rate' has the value 5.0 twice", NULL},
		{"axes: {aqm.kind: [pie, fifo, pie]}", "'aqm.kind' has the value pie twice", NULL},
		{"seeds: [1, 2, 1]", "'seed' has the value 1 twice", NULL},
		{"", "'link.rate' has the value 5 twice", "link.rate=5,5"},
		{"axes: {link.rate: []}", "t:1:20: the list of values is empty", NULL},
		{"axes: {link.rate: {a: 1}}", "a value or a list of values", NULL},
		{"axes: {link.rate: [[1]]}", "a single value has to stand here", NULL},
		{"axes: [1]", "a mapping has to stand here", NULL},
		{"axes: {mix: [a]}\nmixes: {b: [{cc: reno, rtt: 5}]}", "t:1:13: no mix 'a' stands in 'mixes'", NULL},
		{"axes: {mix: [a]}\nmixes: {a: [{cc: reno}]}", "cell 0 (seed=1): flows 1: the round trip", NULL},
		{"axes: {mix: [a]}\nmixes: {a: [{rtt: 5}]}", "these flows lack 'cc'", NULL},
		{"axes: {mix: [a]}\nmixes: {a: {cc: reno}}", "'flows' wants a list", NULL},
		{"axes: {mix: [a]}\nmixes: {a: [], a: []}", "'a' stands here a second time", NULL},
		{"axes: {epsilon: [0, 2]}", "'epsilon' wants a number from 0 to 1, not '2'", NULL},
		{"axes: {seed: [1]}", "they stand in 'seeds'", NULL},
		{"seeds: 0", "'seeds' wants from 1 to", NULL},
		{"seeds: [1, x]", "'seeds' wants a whole number", NULL},
		{"seeds: 99999999999999999999", "'seeds' wants a whole number", NULL},
		{"draws: 10000\nseeds: 10000", "more than 100000 cells", NULL},
		{"random: {aqm.kind: [1, 2]}", "t:1:10: a scenario has no number 'aqm.kind'", NULL},
		{"random: {aqm.target: [2, 1]}", "the lower end first", NULL},
		{"random: {aqm.target: [0, 1]}", "within 0.001 to 10000", NULL},
		{"random: {aqm.target: 5}", "a range is two numbers", NULL},
		{"random: {aqm.target: [5, 6, 7]}", "a range is two numbers", NULL},
		{"random: {aqm.target: [5, nan]}", "a range is two numbers", NULL},
		{"random: {aqm.target: [5, 6]}\naxes: {aqm.target: [7]}", "is an axis and random", NULL},
		{"base: 5", "'base' wants the settings", NULL},
		{"base: {link: {rate: 0}}", "t:1:21: 'rate' wants", NULL},
		{"base: {}\nscenario: a.yaml", "'scenario' is not taken here", NULL},
		{"base: {}\nbase: {}", "t:2:1: 'base' stands here a second time", NULL},
		{"grid: 5", "t:1:1: a grid has no 'grid'", NULL},
		{"", "the scenario has no flows", NULL},
		{"axes: {seconds: [5]}", "'seconds' wants a number", "seconds=x"},
		{"", "a scenario has no 'nosuch'", "nosuch=1"},
		{"", "--set wants KEY=VALUE", "nosuch"},
		{"a: *b", "aliases", NULL},
		{"axes: {", "not YAML", NULL},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct aqm_grid *grid;
		int code = aqm_grid_parse(&grid, "t", cases[i].text, strlen(cases[i].text), &cases[i].set, cases[i].set != NULL);

		if (code != AQM_EUSAGE || !strstr(aqm_error_message(), cases[i].says) || strchr(aqm_error_message(), '\n'))
			fail_msg("'%s': %d, '%s', expected '%s'", cases[i].text, code, aqm_error_message(), cases[i].says);
		assert_null(grid);
	}
}

/* The files we ship, and grids that begin with scenarios of other files. */
static void files(void **state)
{
	static const struct {
		const char *name;
		size_t cells;
	} ours[] = {{"small", 4}, {"steady", 50}, {"collect", 576}};
	struct aqm_grid *grid;
	struct aqm_cell cell;

	(void)state;
	for (size_t i = 0; i < sizeof ours / sizeof *ours; i++) {
		char path[512];

		snprintf(path, sizeof path, "%s/configs/grids/%s.yaml", AQM_SOURCE_DIR, ours[i].name);
		CHECK_OK(aqm_grid_load(&grid, path, NULL, 0));
		assert_string_equal(aqm_grid_name(grid), ours[i].name);
		assert_int_equal(aqm_grid_cells(grid), ours[i].cells);
		aqm_grid_free(grid);
	}
	static const char list[] = "axes: {seconds: [15]}";
	static const char *const set[] = {"scenario=" AQM_SOURCE_DIR "/configs/scenarios/web.yaml,"
	                                  AQM_SOURCE_DIR "/configs/scenarios/overload.yaml"};
	assert_int_equal(aqm_grid_parse(&grid, "t", list, strlen(list), set, 1), AQM_EUSAGE);
	FILE *out = fopen("grid-of-scenarios.yaml", "w");
	assert_non_null(out);
	fputs(list, out);
	fclose(out);
	CHECK_OK(aqm_grid_load(&grid, "grid-of-scenarios.yaml", set, 1));
	remove("grid-of-scenarios.yaml");
	assert_int_equal(aqm_grid_cells(grid), 2);
	CHECK_OK(aqm_grid_cell(grid, 1, &cell));
	assert_string_equal(cell.name, "scenario=overload seed=1");
	assert_string_equal(cell.scenario.name, "overload");
	assert_true(cell.scenario.seconds == 15);
	aqm_cell_release(&cell);
	aqm_grid_free(grid);
	assert_int_equal(aqm_grid_load(&grid, "no-such-file.yaml", NULL, 0), AQM_EUSAGE);
	assert_non_null(strstr(aqm_error_message(), "no-such-file.yaml"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cells_in_order),     cmocka_unit_test(draws), cmocka_unit_test(overrides_replace),
		cmocka_unit_test(wrong_grids_say_so), cmocka_unit_test(files),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
