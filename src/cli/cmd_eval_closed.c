/* SPDX-License-Identifier: BSD-2-Clause
 *
 * aqmtrain eval --closed-loop: the policy in the simulator.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "aqmtrain/distill.h"
#include "base/size.h"
#include "cli/cmd_eval.h"
#include "cli/command.h"
#include "ranks/ranks.h"

enum { SEEDS_DEFAULT = 10, SEEDS_MAX = 10000, NUMBERS_MAX = 64 };

/* ---- lists of numbers ---- */

/* The next element of a list with commas; false at its end. */
static bool next_item(const char **list, char *item, size_t bytes)
{
	if (!*list)
		return false;
	const char *comma = strchr(*list, ',');
	size_t length = comma ? (size_t)(comma - *list) : strlen(*list);

	snprintf(item, bytes, "%.*s", (int)(length < bytes ? length : bytes - 1), *list);
	*list = comma ? comma + 1 : NULL;
	return true;
}

static bool read_number(const char *text, double *value)
{
	char *end;

	*value = strtod(text, &end);
	return end != text && *end == 0 && isfinite(*value);
}

static bool read_whole(const char *text, uint64_t *value)
{
	char *end;

	errno = 0;
	*value = strtoull(text, &end, 10);
	return errno == 0 && end != text && *end == 0 && *text >= '0' && *text <= '9' && *value <= INT64_MAX;
}

/* "10" counts from 1; "7,9" and "11-20" name. */
static int read_seeds(const char *text, uint64_t **seeds, size_t *count)
{
	bool names = strpbrk(text, ",-") != NULL;
	const char *rest = text;
	char item[64];

	*count = 0;
	*seeds = aqm_malloc_array(SEEDS_MAX, sizeof **seeds);
	if (!*seeds)
		return AQM_ERUN;
	while (next_item(&rest, item, sizeof item)) {
		char *dash = strchr(item, '-');
		uint64_t first, last;

		if (dash)
			*dash = 0;
		bool good = read_whole(item, &first) && (!dash || read_whole(dash + 1, &last));
		if (good && !dash) {
			last = first;
			first = names ? first : 1;
		}
		if (!good || last < first || last - first >= SEEDS_MAX - *count)
			return aqm_error_set(AQM_EUSAGE, "--seeds wants a number of them, or which: 10, 7,9 or 11-20, not '%s'",
			                     text);
		for (uint64_t seed = first; seed <= last; seed++)
			(*seeds)[(*count)++] = seed;
	}
	for (size_t i = 0; i < *count; i++)
		for (size_t j = 0; j < i; j++)
			if ((*seeds)[i] == (*seeds)[j])
				return aqm_error_set(AQM_EUSAGE, "--seeds has %llu twice", (unsigned long long)(*seeds)[i]);
	return AQM_OK;
}

/* Words of the option that stand for numbers, then numbers within [low, high]. */
static int read_list(const char *option, const char *text, const char *word, double word_value, double low, double high,
                     double *values, size_t *count)
{
	char item[64];

	*count = 0;
	while (next_item(&text, item, sizeof item)) {
		if (*count == NUMBERS_MAX)
			return aqm_error_set(AQM_EUSAGE, "%s has more than %d values", option, NUMBERS_MAX);
		if (word && strcmp(item, word) == 0)
			values[*count] = word_value;
		else if (!read_number(item, &values[*count]) || values[*count] < low || values[*count] > high)
			return aqm_error_set(AQM_EUSAGE, "%s does not know '%s'", option, item);
		++*count;
	}
	return AQM_OK;
}

static int read_whole_list(const char *option, const char *text, const char *word, int64_t *out, size_t *count)
{
	double values[NUMBERS_MAX];
	int code = read_list(option, text, word, 0, 0, 1e9, values, count);

	for (size_t i = 0; code == AQM_OK && i < *count; i++) {
		out[i] = (int64_t)values[i];
		if ((double)out[i] != values[i])
			code = aqm_error_set(AQM_EUSAGE, "%s wants whole numbers, not %g", option, values[i]);
	}
	return code;
}

/* ---- the command ---- */

struct numbers {
	uint64_t *seeds; /* owned */
	int64_t every[NUMBERS_MAX], contexts[NUMBERS_MAX];
	double delays[NUMBERS_MAX], targets[NUMBERS_MAX];
};

static int read_numbers(const struct eval_arguments *a, struct numbers *n, struct aqm_closed_options *o)
{
	static const char ten[] = "10";
	const char *targets = a->targets;
	int code = read_seeds(a->seeds ? a->seeds : ten, &n->seeds, &o->seed_count);

	o->seeds = n->seeds;
	if (code == AQM_OK && a->every) {
		o->every = n->every;
		code = read_whole_list("--every", a->every, "update", n->every, &o->every_count);
	}
	if (code == AQM_OK && a->contexts) {
		o->contexts = n->contexts;
		code = read_whole_list("--context-windows", a->contexts, NULL, n->contexts, &o->context_count);
	}
	if (code == AQM_OK && a->delays) {
		char *plain = aqm_strdup(a->delays), *none;

		while (plain && (none = strstr(plain, "none")))
			memcpy(none, "0000", 4);
		o->delays = n->delays;
		code = plain ? read_list("--delay", plain, "measured", -1, 0, 1e6, n->delays, &o->delay_count) : AQM_ERUN;
		free(plain);
	}
	if (code == AQM_OK && targets) {
		o->targets = n->targets;
		o->target_quantiles = *targets == 'q';
		code = read_list("--target-return", targets + o->target_quantiles, NULL, 0, o->target_quantiles ? 0 : -1e300,
		                 o->target_quantiles ? 1 : 1e300, n->targets, &o->target_count);
	}
	return code;
}

/* ---- students ---- */

struct pupil {
	aqm_student *student; /* owned */
	char digest[65];
};

static int open_pupil(void *context, struct aqm_sim_hook *hook, void **instance)
{
	struct aqm_sim_student *own;
	int code = aqm_sim_student_new(&own, hook, ((struct pupil *)context)->student);

	*instance = own;
	return code;
}

static void close_pupil(void *instance)
{
	aqm_sim_student_free(instance);
}

/* What --aqm calls student:FILE. */
static int load_pupils(const struct eval_arguments *a, struct pupil *pupils, struct aqm_closed_guest *guests, size_t *count)
{
	for (size_t i = 0; i < a->aqms.count; i++) {
		struct pupil *pupil = &pupils[*count];

		if (strncmp(a->aqms.texts[i], "student:", 8) != 0)
			continue;
		int code = aqm_student_load(&pupil->student, a->aqms.texts[i] + 8);
		if (code == AQM_OK)
			code = aqm_student_digest(pupil->student, pupil->digest);
		if (code != AQM_OK)
			return code;
		bool packets = aqm_student_control(pupil->student) == AQM_CONTROL_PACKET;
		guests[(*count)++] = (struct aqm_closed_guest){a->aqms.texts[i], pupil->digest,
		                                               a->host ? a->host : packets ? "freebsd-l4s" : NULL, pupil, open_pupil, close_pupil};
	}
	return AQM_OK;
}

int aqm_cli_eval_closed(const struct eval_arguments *a)
{
	struct aqm_closed_options o = {
		.run_path = a->options.run_path,
		.base_path = a->options.base_path,
		.last = a->options.last,
		.device = a->options.device,
		.scenario_path = a->scenario,
		.grid_path = a->grid,
		.assignments = a->assignments.texts,
		.assignment_count = a->assignments.count,
		.aqms = a->aqms.count ? a->aqms.texts : NULL,
		.aqm_count = a->aqms.count,
		.host = a->host,
		.baseline = a->baseline,
		.utility = a->utility,
		.trained = a->trained.count ? a->trained.texts : NULL,
		.trained_count = a->trained.count,
		.folder = a->output,
		.command = a->command,
		.threads = a->threads,
		.ranks = a->ranks,
		.json = a->json,
	};
	struct numbers numbers = {0};
	struct pupil *pupils = aqm_calloc_array(a->aqms.count + 1, sizeof *pupils);
	struct aqm_closed_guest *guests = aqm_calloc_array(a->aqms.count + 1, sizeof *guests);
	char *text = NULL;
	int code = pupils && guests ? read_numbers(a, &numbers, &o) : AQM_ERUN;

	if (code == AQM_OK)
		code = load_pupils(a, pupils, guests, &o.guest_count);
	o.guests = guests;
	code = aqm_ranks_agree(a->ranks, code);
	if (code == AQM_OK)
		code = aqm_closed_loop(&o, &text);
	if (code == AQM_OK && text)
		fputs(text, stdout);
	for (size_t i = 0; pupils && i < a->aqms.count; i++)
		aqm_student_free(pupils[i].student);
	free(pupils);
	free(guests);
	free(text);
	free(numbers.seeds);
	return code == AQM_OK ? 0 : aqm_cli_fail(code);
}
