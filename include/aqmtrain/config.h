/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Configuration: one YAML file a run, read through one option table (src/config/options.c). A row there has name, type,
 * place, default, range and help; it drives reading, `--set key=value`, `aqmtrain config`, and the resolved config.yaml of a run.
 * Names are dotted paths of the YAML mapping ("lora.rank"). An unknown or repeated key is an error with its line.
 */
#ifndef AQMTRAIN_CONFIG_H
#define AQMTRAIN_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include "aqmtrain/error.h"

struct aqm_strings {
	char **items; /* owned */
	size_t count;
};

enum aqm_device_kind { AQM_DEVICE_CPU, AQM_DEVICE_CUDA, AQM_DEVICE_AUTO };
enum aqm_activations { AQM_ACTIVATIONS_AUTO, AQM_ACTIVATIONS_F32, AQM_ACTIVATIONS_BF16 };
enum aqm_control { AQM_CONTROL_PACKET, AQM_CONTROL_UPDATE };
enum aqm_labels { AQM_LABELS_EFFECTIVE, AQM_LABELS_LOGGED };
enum aqm_reward_kind { AQM_REWARD_POWER, AQM_REWARD_TRADEOFF, AQM_REWARD_UTILITY };
enum aqm_delay_unit { AQM_UNIT_US, AQM_UNIT_MS, AQM_UNIT_S };
enum aqm_reward_normaliser { AQM_REWARDS_RAW, AQM_REWARDS_STANDARD, AQM_REWARDS_MIN_MAX };
enum aqm_horizon_unit { AQM_HORIZON_ROWS, AQM_HORIZON_MS };
enum aqm_normaliser_kind { AQM_NORMALISER_NONE, AQM_NORMALISER_STANDARD, AQM_NORMALISER_LOG_STANDARD, AQM_NORMALISER_BOTH };
enum aqm_action_embedding { AQM_ACTION_EMBEDDING, AQM_ACTION_LINEAR };
enum aqm_time_embedding { AQM_TIME_WINDOW, AQM_TIME_EPISODE };
enum aqm_class_weights { AQM_WEIGHTS_NONE, AQM_WEIGHTS_BALANCED, AQM_WEIGHTS_GIVEN };
enum aqm_sampler_kind { AQM_SAMPLER_UNIFORM, AQM_SAMPLER_TRANSITIONS, AQM_SAMPLER_BALANCED, AQM_SAMPLER_TILES };
enum aqm_schedule { AQM_SCHEDULE_CONSTANT, AQM_SCHEDULE_LINEAR, AQM_SCHEDULE_COSINE };
enum aqm_arithmetic { AQM_ARITHMETIC_FLOAT32, AQM_ARITHMETIC_INT8 };
enum aqm_best { AQM_BEST_AUTO, AQM_BEST_MACRO_F1, AQM_BEST_LOSS, AQM_BEST_ACCURACY, AQM_BEST_WITHIN, AQM_BEST_LAST };
enum aqm_level_scale { AQM_LEVEL_LOG, AQM_LEVEL_LINEAR };
enum aqm_change_from { AQM_FROM_NOW, AQM_FROM_RULE };
enum aqm_distill_returns { AQM_DISTILL_TARGET, AQM_DISTILL_LOGGED };
enum aqm_distill_student { AQM_DISTILL_NETWORK, AQM_DISTILL_TREE };
enum aqm_distill_activation { AQM_DISTILL_RELU, AQM_DISTILL_LEAKY };
enum { AQM_BINS_MAX = 256 };

struct aqm_config {
	uint64_t seed;               /* seed */
	int64_t threads;             /* threads: 0 = all cores */
	enum aqm_device_kind device; /* device: cpu | cuda | auto */
	enum aqm_activations dtype;  /* dtype of activations: auto | f32 | bf16 */
	enum aqm_control control;    /* control: packet = an action a packet; update = the controller's next p' */

	struct {
		char *path;              /* model.path: the GGUF base */
		int64_t stop_layer;      /* model.stop_layer: leave the transformer after this many layers; 0 = all */
		bool causal;             /* model.causal: false = t5's encoder sees the whole window (the paper's), labels leak */
	} model;

	struct {
		char *train;             /* pool.train */
		char *eval;              /* pool.eval: held-out rows; may be empty */
		enum aqm_labels labels;  /* pool.labels: effective | logged */
	} pool;

	struct {
		enum aqm_reward_kind kind;     /* reward.kind: power = pkt_len / (qdelay + c); tradeoff = pkt_len/1500 - delay_weight * qdelay; utility = the row's utility_rank */
		enum aqm_delay_unit unit;      /* reward.unit of qdelay (and c) in the formula */
		double c;                      /* reward.c */
		double delay_weight;           /* reward.delay_weight, per unit of delay (tradeoff) */
		double gamma;                  /* reward.gamma */
		int64_t horizon;               /* reward.horizon; 0 = to the end of the episode */
		enum aqm_horizon_unit horizon_unit; /* reward.horizon_unit: rows | ms */
		enum aqm_reward_normaliser normalise; /* reward.normalise: none | standard | min-max, fitted on the training rows */
		double scale;                  /* reward.scale: returns that are not standardised are divided by it */
	} reward;

	struct {
		int64_t window;                /* policy.window: steps w */
		struct aqm_strings features;   /* policy.features */
		struct aqm_strings sequences;  /* policy.sequences: the features read by Conv1d over their last `kernel` values */
		int64_t encoder_width;         /* policy.encoder_width: e */
		int64_t kernel;                /* policy.kernel: k */
		enum aqm_action_embedding action_embedding; /* policy.action_embedding: embedding | linear */
		enum aqm_time_embedding time_embedding;     /* policy.time_embedding: window | episode */
		enum aqm_normaliser_kind normaliser; /* policy.normaliser: none | standard | log-standard | both */
		bool residual;                 /* policy.residual */
		int64_t bins;                  /* policy.bins: of control: update; 0 = one output and squared error */
		enum aqm_level_scale level;    /* policy.level: scale on which control: update tells and changes p' */
		enum aqm_change_from from;     /* policy.change_from: now = the p' in force; rule = what the rules would set next */
	} policy;

	struct {
		int64_t rank;                  /* lora.rank: 0 = full fine-tuning */
		double alpha;                  /* lora.alpha */
		double dropout;                /* lora.dropout */
		bool rslora;                   /* lora.rslora: alpha / sqrt(rank) */
		struct aqm_strings targets;    /* lora.targets: q k v o gate up down */
	} lora;

	struct {
		int64_t epochs;                /* train.epochs */
		int64_t windows;               /* train.windows: B windows a step */
		int64_t windows_per_epoch;     /* train.windows_per_epoch: 0 = rows / window */
		enum aqm_sampler_kind sampler; /* train.sampler */
		enum aqm_class_weights class_weights; /* train.class_weights: none | balanced | [x, y, z] */
		double class_weight[3];        /* the three given numbers (enqueue, drop, mark) */
		double lr;                     /* train.lr */
		double weight_decay;           /* train.weight_decay, on matrices */
		double beta1, beta2, epsilon;  /* train.beta1, .beta2, .epsilon */
		double clip;                   /* train.clip: global gradient norm; 0 = off */
		bool clip_each;                /* train.clip_each: windows one by one, the sum so far clipped after each */
		double warmup;                 /* train.warmup: below 1 a fraction of all steps, else a number of steps */
		enum aqm_schedule schedule;    /* train.schedule */
		double lr_min;                 /* train.lr_min: end of linear and cosine, as a fraction of lr */
		enum aqm_best best;            /* train.best: what picks best/ on the held-out split */
		int64_t eval_every;            /* train.eval_every epochs; 0 = only at the end */
		int64_t checkpoint_every;      /* train.checkpoint_every steps; 0 = once an epoch */
		int64_t keep_checkpoints;      /* train.keep_checkpoints */
		bool checkpoint_activations;   /* train.checkpoint_activations: keep each block's input only, and run it again in backward */
	} train;

	struct {
		double target_quantile;        /* decide.target_quantile of the training returns */
		double target_factor;          /* decide.target_factor */
		enum aqm_arithmetic arithmetic; /* decide.arithmetic: float32 | int8 */
		bool sample;                   /* decide.sample instead of argmax */
	} decide;

	struct {
		char *teacher;                 /* distill.teacher: a run, or a policy's file */
		enum aqm_distill_returns returns; /* distill.returns: target | logged */
		enum aqm_distill_student student; /* distill.student: network | tree */
		struct aqm_strings features, counters, sequences; /* distill.features, .counters, .sequences */
		int64_t history;               /* distill.history */
		int64_t units, hidden;         /* distill.units, .hidden: of a network */
		enum aqm_distill_activation activation; /* distill.activation */
		int64_t depth, nodes;          /* distill.depth, .nodes: of a tree */
		int64_t epochs, batch;         /* distill.epochs, .batch */
		double lr, weight_decay;       /* distill.lr, .weight_decay */
		double temperature;            /* distill.temperature */
		double label_weight, correlation; /* distill.label_weight, .correlation */
		enum aqm_class_weights class_weights; /* distill.class_weights: none | balanced */
		int64_t rounds;                /* distill.rounds in the simulator */
		struct aqm_strings scenarios;  /* distill.scenarios */
		double seconds;                /* distill.seconds */
		char *host;                    /* distill.host */
		char *utility;                 /* distill.utility */
		char *cache;                   /* distill.cache */
	} distill;
};

/* All defaults. Release with aqm_config_release (which is harmless on a zeroed struct). 0 or AQM_ERUN. */
int aqm_config_init(struct aqm_config *config);
void aqm_config_release(struct aqm_config *config);

/* Read a YAML file over what is there; AQM_EUSAGE with "file:line:column: ..." on any fault. */
int aqm_config_read(struct aqm_config *config, const char *path);
/* The same from memory; `name` is used in messages. Input is untrusted. */
int aqm_config_parse(struct aqm_config *config, const char *name, const void *data, size_t bytes);
/* "key=value" as --set has it; the value is YAML flow ("[q, v]"), but a path or name needs no quotes. The section may be left out where no other option ends so:
 * "labels=logged". */
int aqm_config_set(struct aqm_config *config, const char *assignment);
/* What no single row can check (sequences among features, ...). */
int aqm_config_check(const struct aqm_config *config);

/* Everything resolved, as YAML that reads back to the same values (doubles with all their digits). String owned by the caller. */
int aqm_config_dump(const struct aqm_config *config, char **yaml);

/* For `aqmtrain config`: the table as commented YAML with defaults; or one key explained (its section may be left out as in
 * aqm_config_set), or a section's. AQM_ENOTFOUND for an unknown key, with the nearest name as a hint. Strings owned by the
 * caller. */
int aqm_config_describe(char **text);
int aqm_config_explain(const char *name, char **text);

/* Enum value <-> the word used in YAML, help and output, from the same table ("policy.normaliser", 2 -> "log-standard"). */
const char *aqm_config_word(const char *key, int value);

#endif
