/* SPDX-License-Identifier: BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aqmtrain/config.h"
#include "base/file.h"
#include "config/option.h"

static struct aqm_config config;

static int set_up(void **state)
{
	(void)state;
	return aqm_config_init(&config);
}

static int tear_down(void **state)
{
	(void)state;
	aqm_config_release(&config);
	return 0;
}

static int parse(const char *text)
{
	return aqm_config_parse(&config, "x.yaml", text, strlen(text));
}

static void assert_refused(const char *text, const char *message)
{
	assert_int_equal(parse(text), AQM_EUSAGE);
	assert_string_equal(aqm_error_message(), message);
	aqm_config_release(&config);
	assert_int_equal(aqm_config_init(&config), AQM_OK);
}

static void test_defaults(void **state)
{
	(void)state;
	assert_int_equal(config.seed, 1);
	assert_int_equal(config.policy.window, 20);
	assert_int_equal(config.policy.features.count, 8);
	assert_string_equal(config.policy.features.items[7], "pkt_len");
	assert_string_equal(config.policy.sequences.items[0], "current_qdelay");
	assert_int_equal(config.policy.normaliser, AQM_NORMALISER_LOG_STANDARD);
	assert_int_equal(config.lora.rank, 128);
	assert_true(config.train.lr == 1e-4 && config.train.epsilon == 1e-8 && config.train.clip == 0.25);
	assert_int_equal(config.train.schedule, AQM_SCHEDULE_COSINE);
	assert_int_equal(config.train.class_weights, AQM_WEIGHTS_NONE);
	assert_string_equal(config.model.path, "");
	assert_int_equal(config.reward.normalise, AQM_REWARDS_STANDARD);
	assert_int_equal(aqm_config_check(&config), AQM_OK);
}

static void test_reading(void **state)
{
	(void)state;
	assert_int_equal(parse("# a run\n"
	                       "seed: 18446744073709551615\n"
	                       "model:\n  path: models/a b.gguf\n"
	                       "pool: {train: 'it''s.h5', eval: ~, labels: logged}\n"
	                       "lora:\n  rank: 8\n  alpha: 1.5e1\n  targets: [q, k,\n    down]\n"
	                       "policy:\n"
	                       "  features: [len_bytes]\n  sequences: []\n"
	                       "train:\n  class_weights: [1, 2.5, 0]\n"
	                       "reward:\n"),
	                 AQM_OK);
	assert_true(config.seed == UINT64_MAX);
	assert_string_equal(config.model.path, "models/a b.gguf");
	assert_string_equal(config.pool.train, "it's.h5");
	assert_string_equal(config.pool.eval, "");
	assert_int_equal(config.pool.labels, AQM_LABELS_LOGGED);
	assert_int_equal(config.lora.rank, 8);
	assert_true(config.lora.alpha == 15.0);
	assert_int_equal(config.lora.targets.count, 3);
	assert_string_equal(config.lora.targets.items[2], "down");
	assert_int_equal(config.policy.sequences.count, 0);
	assert_int_equal(config.train.class_weights, AQM_WEIGHTS_GIVEN);
	assert_true(config.train.class_weight[1] == 2.5);
	assert_int_equal(config.train.epochs, 80); /* untouched */
	assert_int_equal(parse(""), AQM_OK);
	assert_int_equal(parse("---\n# nothing\n"), AQM_OK);
}

/* Words of former versions are read and written as today's. */
static void test_former_words(void **state)
{
	static const struct {
		const char *text;
		enum aqm_reward_normaliser normalise;
		const char *written;
	} cases[] = {{"true", AQM_REWARDS_STANDARD, "normalise: standard"},
	             {"false", AQM_REWARDS_RAW, "normalise: none"},
	             {"min-max", AQM_REWARDS_MIN_MAX, "normalise: min-max"}};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		char text[64], *yaml;

		snprintf(text, sizeof text, "reward: {normalise: %s}\n", cases[i].text);
		assert_int_equal(parse(text), AQM_OK);
		assert_int_equal(config.reward.normalise, cases[i].normalise);
		assert_int_equal(aqm_config_dump(&config, &yaml), AQM_OK);
		assert_non_null(strstr(yaml, cases[i].written));
		free(yaml);
	}
	assert_refused("reward: {normalise: yes}\n",
	               "x.yaml:1:21: 'reward.normalise' wants none | standard | min-max, not 'yes'");
	assert_refused("train: {sampler: true}\n", "x.yaml:1:18: 'train.sampler' wants uniform | transitions | balanced | tiles, "
	                                            "not 'true'");
}

static void test_places(void **state)
{
	(void)state;
	assert_refused("lora:\n  rnak: 3\n", "x.yaml:2:3: no option 'lora.rnak'; did you mean 'lora.rank'?");
	assert_refused("rank: 3\n", "x.yaml:1:1: no option 'rank'; did you mean 'lora.rank'?");
	assert_refused("zzzzzzzzzzz: 3\n", "x.yaml:1:1: no option 'zzzzzzzzzzz'");
	assert_refused("seed: 1\nthreads: 2\nseed: 2\n", "x.yaml:3:1: 'seed' stands here a second time");
	assert_refused("lora: {rank: 1}\nlora: {alpha: 2}\n", "x.yaml:2:1: 'lora' stands here a second time");
	assert_refused("lora: {rank: 1}\nlora.rank: 2\n", "x.yaml:2:1: 'lora.rank' stands here a second time");
	assert_refused("lora:\n  rank: many\n", "x.yaml:2:9: 'lora.rank' wants a whole number from 0 to 65536, not 'many'");
	assert_refused("lora: 3\n", "x.yaml:1:1: 'lora' wants options of its own, such as 'lora.rank'");
	assert_refused("seed: {a: 1}\n", "x.yaml:1:1: 'seed' has no options of its own");
	assert_refused("seed: [1]\n",
	               "x.yaml:1:7: 'seed' wants a whole number from 0 to 18446744073709551615, not a list of 1");
	assert_refused("device: gpu\n", "x.yaml:1:9: 'device' wants cpu | cuda | auto, not 'gpu'");
	assert_refused("- a\n", "x.yaml:1:1: a mapping of options has to stand here");
	assert_refused("just words\n", "x.yaml:1:1: a mapping of options has to stand here");
	assert_refused("[a]: 3\n", "x.yaml:1:1: a name has to stand here");
}

static void test_values(void **state)
{
	static const char *const wrong[] = {
		"lora: {rank: 65537}",     "lora: {rank: -1}",          "lora: {rank: 1.5}",        "lora: {rank: 0x10}",
		"lora: {rank: '8'}",       "lora: {rank: }",            "lora: {rank: 99999999999999999999}",
		"lora: {alpha: nan}",      "lora: {alpha: .inf}",       "lora: {alpha: 1e400}",     "lora: {alpha: 1-2}",
		"lora: {dropout: 1}",      "lora: {rslora: yes}",       "lora: {rslora: 1}",        "lora: {targets: q}",
		"lora: {targets: [q, x]}", "lora: {targets: [q, q]}",   "lora: {targets: [[q]]}",   "lora: {targets: [{q: 1}]}",
		"seed: -1",                "seed: 18446744073709551616", "seed: ''",                "train: {class_weights: [1, 2]}",
		"train: {class_weights: [0, 0, 0]}", "train: {class_weights: [1, 2, -3]}", "train: {class_weights: given}",
		"policy: {features: ['']}", "model: {path: \"a\\nb\"}", "model: {path: \"a\\0b\"}", "model: {path: \"\\u0085\"}",
		"model: {path: \"\\u2028\"}", "model: {path: [a]}",
	};

	(void)state;
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		int code = parse(wrong[i]);

		if (code != AQM_EUSAGE)
			fail_msg("'%s' was taken", wrong[i]);
		assert_int_equal(strncmp(aqm_error_message(), "x.yaml:1:", 9), 0);
	}
}

/* What YAML can do beyond mappings of options is refused, and neither depth nor size is a way around. */
static void test_hostile(void **state)
{
	enum { DEEP = 20000, LONG = 300000 };
	char *text = malloc(LONG + 1);

	(void)state;
	assert_refused("seed: &a 1\n", "x.yaml:1:7: anchors are not taken");
	assert_refused("seed: *a\n", "x.yaml:1:7: aliases are not taken");
	assert_refused("seed: !!int 1\n", "x.yaml:1:7: tags are not taken");
	assert_refused("seed: 1\n---\nseed: 2\n", "x.yaml:2:1: a second document is not taken");
	assert_int_equal(parse("seed: 1\n\tthreads: 2\n"), AQM_EUSAGE);
	assert_int_equal(strncmp(aqm_error_message(), "x.yaml:2:1: not YAML: ", 22), 0);

	memset(text, '[', DEEP);
	text[DEEP] = '\0';
	assert_int_equal(parse(text), AQM_EUSAGE);
	memset(text, '{', DEEP);
	assert_int_equal(parse(text), AQM_EUSAGE);
	for (size_t i = 0; i + 2 < DEEP; i += 3)
		memcpy(text + i, "a: ", 3);
	assert_int_equal(parse(text), AQM_EUSAGE);
	memset(text, '#', LONG);
	text[LONG] = '\0';
	assert_int_equal(parse(text), AQM_EUSAGE);
	assert_non_null(strstr(aqm_error_message(), "longer than"));
	memset(text, 'k', 5000);
	memcpy(text + 5000, ": 1", 4);
	assert_int_equal(parse(text), AQM_EUSAGE);
	assert_true(strlen(aqm_error_message()) < 200);
	free(text);
	assert_int_equal(parse("\xff\xfe\xfd"), AQM_EUSAGE);
	assert_int_equal(aqm_config_parse(&config, "x", "seed: 1\0", 8), AQM_EUSAGE);
}

static void test_set(void **state)
{
	(void)state;
	assert_int_equal(aqm_config_set(&config, "lora.rank=16"), AQM_OK);
	assert_int_equal(config.lora.rank, 16);
	assert_int_equal(aqm_config_set(&config, "lora.rank=32"), AQM_OK); /* the last one counts */
	assert_int_equal(config.lora.rank, 32);
	assert_int_equal(aqm_config_set(&config, "lora.targets=[q, o]"), AQM_OK);
	assert_string_equal(config.lora.targets.items[1], "o");
	assert_int_equal(aqm_config_set(&config, "model.path=a=b"), AQM_OK);
	assert_string_equal(config.model.path, "a=b");
	static const char *const paths[] = {"a #b.gguf", "a: b", "[x].gguf", "it's.gguf", " x", "*x", "{x}", "@x", "\u00fc \u4e16.gguf"};
	for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) { /* as they are: nothing is YAML's */
		char assignment[64];

		snprintf(assignment, sizeof assignment, "model.path=%s", paths[i]);
		assert_int_equal(aqm_config_set(&config, assignment), AQM_OK);
		assert_string_equal(config.model.path, paths[i]);
	}
	assert_int_equal(aqm_config_set(&config, "model.path='it''s'"), AQM_OK);
	assert_string_equal(config.model.path, "it's");
	assert_int_equal(aqm_config_set(&config, "model.path=\xff"), AQM_EUSAGE);
	assert_int_equal(aqm_config_set(&config, "model.path=~"), AQM_OK);
	assert_string_equal(config.model.path, "");
	assert_int_equal(aqm_config_set(&config, "model.path="), AQM_OK);
	assert_string_equal(config.model.path, "");
	assert_int_equal(aqm_config_set(&config, "lora={alpha: 3}"), AQM_OK);
	assert_true(config.lora.alpha == 3.0);
	assert_int_equal(aqm_config_set(&config, "labels=logged"), AQM_OK); /* no other option ends so */
	assert_int_equal(config.pool.labels, AQM_LABELS_LOGGED);
	assert_int_equal(aqm_config_set(&config, "epochs=7"), AQM_OK); /* of a policy, not distill.epochs */
	assert_int_equal(config.train.epochs, 7);
	assert_int_equal(config.distill.epochs, 200);

	assert_int_equal(aqm_config_set(&config, "lora.rank"), AQM_EUSAGE);
	assert_string_equal(aqm_error_message(), "--set wants KEY=VALUE, not 'lora.rank'");
	assert_int_equal(aqm_config_set(&config, "=3"), AQM_EUSAGE);
	assert_int_equal(aqm_config_set(&config, "lora.rank=x"), AQM_EUSAGE);
	assert_string_equal(aqm_error_message(), "--set: 'lora.rank' wants a whole number from 0 to 65536, not 'x'");
	assert_int_equal(aqm_config_set(&config, "lora.rank="), AQM_EUSAGE);
	assert_int_equal(aqm_config_set(&config, "nothing="), AQM_EUSAGE);
	assert_int_equal(aqm_config_set(&config, "lora.targets=[q"), AQM_EUSAGE);
	assert_int_equal(config.lora.rank, 32);
}

static void test_check(void **state)
{
	(void)state;
	assert_int_equal(aqm_config_set(&config, "policy.sequences=[drops, nosuch]"), AQM_OK);
	assert_int_equal(aqm_config_check(&config), AQM_EUSAGE);
	assert_string_equal(aqm_error_message(), "'policy.sequences' names 'nosuch', which is not among 'policy.features'");
	aqm_config_set(&config, "policy.sequences=[]");
	assert_int_equal(aqm_config_check(&config), AQM_OK);
	aqm_config_set(&config, "lora.targets=[]");
	assert_int_equal(aqm_config_check(&config), AQM_EUSAGE);
	aqm_config_set(&config, "lora.rank=0");
	assert_int_equal(aqm_config_check(&config), AQM_OK);
	aqm_config_set(&config, "train.warmup=10.5");
	assert_int_equal(aqm_config_check(&config), AQM_EUSAGE);
	aqm_config_set(&config, "train.warmup=2000");
	assert_int_equal(aqm_config_check(&config), AQM_OK);
	aqm_config_set(&config, "policy.features=[]");
	assert_int_equal(aqm_config_check(&config), AQM_EUSAGE);
	aqm_config_set(&config, "policy.features=[pkt_len, action_logged]"); /* would be told what it is to say */
	assert_int_equal(aqm_config_check(&config), AQM_EUSAGE);
	assert_non_null(strstr(aqm_error_message(), "'action_logged', which nobody knows before the decision"));
}

/* What dump writes, parse reads back to the same values, so to the same text. */
static void test_round_trip(void **state)
{
	static const char *const assignments[] = {
		"train.lr=0.1",         "train.lr_min=0.30000000000000004", "train.epsilon=1e-30", "lora.alpha=3",
		"reward.c=1e9",         "train.class_weights=[0.1, 1e-7, 3]", "seed=18446744073709551615",
		"model.path='no'",      "pool.train=\"it's: [a] # \\u00e9\"", "pool.eval=' -x '",
		"policy.features=[y, 'a, b', '1e3', current_qdelay]", "decide.sample=true", "train.best=accuracy",
	};
	struct aqm_config other;
	char *first, *second;

	(void)state;
	for (size_t i = 0; i < sizeof assignments / sizeof *assignments; i++)
		if (aqm_config_set(&config, assignments[i]) != AQM_OK)
			fail_msg("%s", aqm_error_message());
	assert_int_equal(aqm_config_dump(&config, &first), AQM_OK);
	assert_int_equal(aqm_config_init(&other), AQM_OK);
	if (aqm_config_parse(&other, "dump", first, strlen(first)) != AQM_OK)
		fail_msg("%s", aqm_error_message());
	assert_true(other.train.lr_min == 0.1 + 0.2);
	assert_true(other.train.class_weight[1] == 1e-7);
	assert_string_equal(other.model.path, "no");
	assert_string_equal(other.pool.train, "it's: [a] # \xc3\xa9");
	assert_string_equal(other.pool.eval, " -x ");
	assert_string_equal(other.policy.features.items[1], "a, b");
	assert_true(other.decide.sample);
	assert_int_equal(other.train.best, AQM_BEST_ACCURACY);
	assert_int_equal(aqm_config_dump(&other, &second), AQM_OK);
	assert_string_equal(first, second);
	assert_non_null(strstr(first, "epsilon: 1.0e-30\n"));
	aqm_config_release(&other);
	free(first);
	free(second);
}

/* The description is itself a config file: that of the defaults. */
static void test_describe(void **state)
{
	char *description, *defaults, *read_back;

	(void)state;
	assert_int_equal(aqm_config_dump(&config, &defaults), AQM_OK);
	assert_int_equal(aqm_config_describe(&description), AQM_OK);
	aqm_config_set(&config, "seed=5");
	if (parse(description) != AQM_OK)
		fail_msg("%s", aqm_error_message());
	assert_int_equal(aqm_config_dump(&config, &read_back), AQM_OK);
	assert_string_equal(defaults, read_back);
	assert_non_null(strstr(description, "  # rank of the adapters; 0 = full fine-tuning (a whole number from 0 to 65536)\n"
	                                    "  rank: 128\n"));
	free(description);
	free(defaults);
	free(read_back);
}

static void test_explain(void **state)
{
	char *text;

	(void)state;
	assert_int_equal(aqm_config_explain("policy.normaliser", &text), AQM_OK);
	assert_non_null(strstr(text, "none | standard | log-standard"));
	assert_null(strstr(text, "lora"));
	free(text);
	assert_int_equal(aqm_config_explain("lora", &text), AQM_OK);
	assert_non_null(strstr(text, "lora.rank"));
	assert_non_null(strstr(text, "lora.targets"));
	free(text);
	assert_int_equal(aqm_config_explain("rank", &text), AQM_OK); /* as --set takes it */
	assert_int_equal(strncmp(text, "lora.rank\n", 10), 0);
	free(text);
	assert_int_equal(aqm_config_explain("a", &text), AQM_ENOTFOUND);
	assert_string_equal(aqm_error_message(), "no option 'a'"); /* nothing of it is near anything */
	assert_int_equal(aqm_config_explain("", &text), AQM_ENOTFOUND);
	assert_string_equal(aqm_error_message(), "no option ''");
	assert_int_equal(aqm_config_explain("lora.r", &text), AQM_ENOTFOUND);
	assert_null(text);
	assert_int_equal(aqm_config_explain("lora.ranks", &text), AQM_ENOTFOUND);
	assert_string_equal(aqm_error_message(), "no option 'lora.ranks'; did you mean 'lora.rank'?");
}

static void test_words(void **state)
{
	(void)state;
	assert_string_equal(aqm_config_word("policy.normaliser", AQM_NORMALISER_LOG_STANDARD), "log-standard");
	assert_string_equal(aqm_config_word("train.class_weights", AQM_WEIGHTS_GIVEN), "given");
	assert_string_equal(aqm_config_word("device", AQM_DEVICE_AUTO), "auto");
	assert_string_equal(aqm_config_word("train.sampler", AQM_SAMPLER_BALANCED), "balanced");
	assert_null(aqm_config_word("device", 3));
	assert_null(aqm_config_word("device", -1));
	assert_null(aqm_config_word("seed", 0));
	assert_null(aqm_config_word("nothing", 0));
}

/* Rows of one section stand together (dump opens each section once), names are unique, fields do not overlap. */
static void test_table(void **state)
{
	(void)state;
	for (size_t i = 0; i < aqm_option_count; i++)
		for (size_t j = 0; j < i; j++) {
			assert_string_not_equal(aqm_options[i].name, aqm_options[j].name);
			assert_int_not_equal(aqm_options[i].offset, aqm_options[j].offset);
			size_t section = strcspn(aqm_options[i].name, ".") + 1;
			if (strchr(aqm_options[i].name, '.') && strncmp(aqm_options[i].name, aqm_options[j].name, section) == 0)
				assert_int_equal(strncmp(aqm_options[i].name, aqm_options[i - 1].name, section), 0);
		}
}

static void test_file(void **state)
{
	char path[] = "test_config.XXXXXX";
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(aqm_file_write(path, "seed: 7\nthreads: x\n", 19), AQM_OK);
	assert_int_equal(aqm_config_read(&config, path), AQM_EUSAGE);
	assert_int_equal(strncmp(aqm_error_message(), path, strlen(path)), 0);
	assert_non_null(strstr(aqm_error_message(), ":2:10: 'threads' wants"));
	assert_int_equal(config.seed, 7);
	assert_int_equal(aqm_remove_tree(path), AQM_OK);
	assert_int_equal(aqm_config_read(&config, path), AQM_EUSAGE);
	struct aqm_config zeroed = {0};
	aqm_config_release(&zeroed);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_defaults), TEST(test_reading),  TEST(test_places),   TEST(test_values),  TEST(test_hostile),
		TEST(test_former_words),
		TEST(test_set),      TEST(test_check),    TEST(test_round_trip), TEST(test_describe), TEST(test_explain),
		TEST(test_words),    TEST(test_table),    TEST(test_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
