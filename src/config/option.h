/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The option table: a row an option. Everything that knows what options there are walks this table.
 */
#ifndef AQM_CONFIG_OPTION_H
#define AQM_CONFIG_OPTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "aqmtrain/config.h"

enum aqm_option_kind {
	AQM_OPTION_BOOL,
	AQM_OPTION_INT,     /* int64_t in [low, high] */
	AQM_OPTION_SEED,    /* uint64_t, any */
	AQM_OPTION_NUMBER,  /* double in [low, high] */
	AQM_OPTION_STRING,
	AQM_OPTION_STRINGS, /* a list without repetitions; of `words`, where there are any */
	AQM_OPTION_WORD,    /* an enum: the index in `words` */
	AQM_OPTION_WEIGHTS, /* a word, or three numbers: only train.class_weights */
};

struct aqm_option {
	const char *name;         /* "lora.rank" */
	enum aqm_option_kind kind;
	size_t offset;            /* of the field in struct aqm_config */
	const char *initial;      /* the default, as one writes it in YAML */
	double low, high;         /* inclusive */
	const char *const *words; /* NULL-terminated */
	const char *help;         /* one line */
	const char *const *once;  /* words of former versions, by their index in `words`: read, never written; may be NULL */
};

extern const struct aqm_option aqm_options[];
extern const size_t aqm_option_count;

/* A value as YAML has it: a scalar, or a list of scalars. */
struct aqm_option_value {
	bool is_list;
	bool quoted;          /* a scalar in quotes can only be a string */
	const char *const *items; /* one for a scalar */
	size_t count;
};

/* The row of a name; NULL when there is none. */
const struct aqm_option *aqm_option_find(const char *name);
/* Is there an option "<name>.something"? Then the first of them, else NULL. */
const struct aqm_option *aqm_option_section(const char *name);
/* "pool.labels" for "labels", where only one option ends so; otherwise the name itself. What a student is trained with does
 * not count beside what a policy is trained with. */
const char *aqm_option_whole_name(const char *name);
/* The name a user may have meant; NULL when nothing is near. */
const char *aqm_option_nearest(const char *name);

/* Check a value and put it into the config, in place of what was there. AQM_EUSAGE, AQM_ERUN. */
int aqm_option_set(const struct aqm_option *option, struct aqm_config *config, const struct aqm_option_value *value);
/* The field's value as YAML, on one line. */
void aqm_option_print(const struct aqm_option *option, const struct aqm_config *config, FILE *stream);
/* What the option takes: "whole number, 0 to 65536", "one of: cpu, cuda, auto". */
void aqm_option_print_type(const struct aqm_option *option, FILE *stream);
/* Free what the field owns. */
void aqm_option_release(const struct aqm_option *option, struct aqm_config *config);

#endif
