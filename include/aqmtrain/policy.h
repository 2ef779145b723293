/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The policy: state encoder, embeddings, base transformer with LoRA, action head. Reads windows of (return-to-go, state, action)
 * tokens and gives logits of each step's action; or decides step by step with a cache.
 *
 * One window of w steps is w (F + 2) tokens:  R_0 s_0^1 .. s_0^F a_0  R_1 s_1^1 .. s_1^F a_1  ...
 * and the logits of a_t are read at the token of s_t^F (design: the policy, exactly). With control: packet a step is a packet and
 * a_t its action; with control: update a step is an update interval and a_t the controller's next base probability p'.
 */
#ifndef AQMTRAIN_POLICY_H
#define AQMTRAIN_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "aqmtrain/config.h"
#include "aqmtrain/error.h"
#include "aqmtrain/pool.h"

typedef struct aqm_policy aqm_policy;

/* Load what training wrote (RUN/best/policy.h5, RUN/policy.h5 or a file's own path) together with its base model: `base_path`, or NULL for the path in the
 * policy. The base must have the fingerprint stored there (AQM_EDATA otherwise: which was expected, which was found). Inference only. */
int aqm_policy_load(aqm_policy **out, const char *policy_path, const char *base_path, enum aqm_device_kind device);
void aqm_policy_free(aqm_policy *policy);
/* The resolved configuration it was trained with. Lifetime of the policy. */
const struct aqm_config *aqm_policy_config(const aqm_policy *policy);
const char *aqm_policy_base_path(const aqm_policy *policy);

/* ---- decisions ---- */

typedef struct aqm_decider aqm_decider;

/* One stream of decisions (one queue). target_return in units of returns, before they are standardised or divided; NAN = the policy's own target
 * (decide.target_quantile of the training returns x decide.target_factor). */
int aqm_decider_new(aqm_decider **out, aqm_policy *policy, double target_return);
void aqm_decider_free(aqm_decider *decider);
/* Back to an empty window. */
void aqm_decider_reset(aqm_decider *decider);
/* Decide on a state: features in the order of policy.features, in the pool's units. *action is what the policy picks (argmax, or sampled); logits
 * (3 floats) may be NULL. New tokens: R_t, s_t^1..F, preceded by a_{t-1} of the step before. */
int aqm_decider_decide(aqm_decider *decider, const double *features, enum aqm_action *action, float *logits);
/* What was done in the end and the reward seen; must follow each decide: R <- (R - r) / gamma. On a CPU this may take as long as deciding: the step
 * goes to the window that follows too, so that no decision waits for a window that begins anew. */
int aqm_decider_observe(aqm_decider *decider, enum aqm_action action, double reward);

/* The same for control: update, at the end of each update interval: from the features of the interval and the base probability p'
 * that was in force in it (0 to 1; with policy.change_from: rule, what the rules would set next), the p' for the next one. The pair before is for packets only, this one for updates only: AQM_EUSAGE
 * for the other. */
int aqm_decider_update(aqm_decider *decider, const double *features, double now, double *next);
/* The p' that was set in the end. */
int aqm_decider_observe_update(aqm_decider *decider, double next, double reward);

/* Many routers at once: `streams` streams of their own windows and returns, numbered from 0, which read the weights together. The functions above
 * speak of stream 0; sampling draws for each stream on its own. */
int aqm_decider_new_streams(aqm_decider **out, aqm_policy *policy, double target_return, int64_t streams);
void aqm_decider_reset_stream(aqm_decider *decider, int64_t stream);
/* Decide for `count` different streams: features (count, F), actions (count), logits (count, 3) or NULL. When it fails none has decided. */
int aqm_decider_decide_streams(aqm_decider *decider, int64_t count, const int64_t *streams, const double *features, enum aqm_action *actions,
                               float *logits);
int aqm_decider_observe_stream(aqm_decider *decider, int64_t stream, enum aqm_action action, double reward);
/* now, next: (count) */
int aqm_decider_update_streams(aqm_decider *decider, int64_t count, const int64_t *streams, const double *features, const double *now, double *next);
int aqm_decider_observe_update_stream(aqm_decider *decider, int64_t stream, double next, double reward);

#endif
