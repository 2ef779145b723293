/* SPDX-License-Identifier: BSD-2-Clause
 *
 * How far a training is: all that a resumed run needs besides parameters and moments.
 */
#ifndef AQM_TRAIN_STATE_H
#define AQM_TRAIN_STATE_H

#include <stdint.h>
#include "aqmtrain/config.h"

/* Every field, once: this list gives the struct and the checkpoint's bytes. Integers, then doubles, then SHA-256 in
 * hexadecimal ("" = none). */
#define AQM_TRAIN_STATE_INTEGERS(XX)                                                    \
	XX(step)          /* optimizer steps done */                                        \
	XX(epochs_closed) /* epochs whose evaluation is done and whose lines are written */ \
	XX(metrics_bytes) /* length of metrics.jsonl */                                     \
	XX(threads)       /* it was trained with */                                         \
	XX(epoch_rows)    /* scored rows of the open epoch */                               \
	XX(epoch_hits)    /* those predicted right */                                       \
	XX(best_step)     /* step of best/; 0 = none */                                     \
	XX(best_epoch)
#define AQM_TRAIN_STATE_DOUBLES(XX)                      \
	XX(elapsed)    /* seconds of training so far */      \
	XX(epoch_loss) /* sum over the open epoch's steps */ \
	XX(best_score) /* larger is better */                \
	XX(best_loss)  /* held out, of best/: decides between equal scores */
#define AQM_TRAIN_STATE_DIGESTS(XX)                         \
	XX(config) /* of the options that decide the outcome */ \
	XX(base)                                                \
	XX(train_pool)                                          \
	XX(eval_pool)                                           \
	XX(layout) /* of the parameters' names, shapes and places */

struct aqm_train_state {
#define XX(name) uint64_t name;
	AQM_TRAIN_STATE_INTEGERS(XX)
#undef XX
#define XX(name) double name;
	AQM_TRAIN_STATE_DOUBLES(XX)
#undef XX
#define XX(name) char name[65];
	AQM_TRAIN_STATE_DIGESTS(XX)
#undef XX
};

/* SHA-256 of the options that decide a training's outcome: not threads, device, paths (their contents have digests
 * of their own), what is kept, or how decisions are taken later. */
int aqm_config_digest(const struct aqm_config *config, char hex[65]);
/* The name of the first such option in which two configurations differ; NULL when they agree. Values as YAML, owned
 * by the caller. 0 or AQM_ERUN. */
int aqm_config_difference(const struct aqm_config *a, const struct aqm_config *b, const char **name, char **value_a,
                          char **value_b);

#endif
