/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What the tests of policies share, in policy/, train/ and export/: a made-up pool, a small policy over a golden base, and a
 * scratch folder.
 */
#ifndef TESTS_HELPER_POLICY_H
#define TESTS_HELPER_POLICY_H

#include "check.h"

#include "policy/policy.h"

/* Two episodes, the second from row `second` on, of current_qdelay, drop_prob, len_bytes and pkt_len that wander; actions
 * that follow from them. Another `which`, other numbers. */
aqm_pool *make_pool(size_t rows, size_t second, uint32_t which);
/* Defaults with the small settings of these tests, and `settings` (assignments, NULL-terminated; may be NULL) on top. */
void small_policy_config(struct aqm_config *config, const char *const *settings);
/* "<tests/golden/policy>/<file>", valid until the next call; a path that begins with '/' or "./" as it is. */
const char *golden_path(const char *file);

struct fixture {
	struct aqm_config config;
	aqm_pool *pool;
	struct aqm_fit fit;
	struct aqm_rows rows;
	aqm_policy *policy;
};

enum { ROWS = 61, SECOND_EPISODE = 37 };
/* That configuration, a pool of ROWS (for control: update its intervals: a row less an episode, for drop_prob changes with
 * every row), and a policy over the base golden_path(base) with buffers for `windows` windows, its LoRA B filled with noise
 * so that adapters matter. */
void fixture_init(struct fixture *f, const char *base, const char *const *settings, int64_t windows, bool training);
void fixture_release(struct fixture *f);
/* Fill every parameter that is all zero with noise of deviation `scale`. */
void shake(aqm_policy *policy, float scale);

/* Features of a row of such a pool, in its units. */
void features_of(const aqm_pool *pool, size_t row, double features[4]);
/* The reward of a row in its own units, out of its place in the range. */
double raw_reward(const struct fixture *f, size_t row);
/* Five streams that begin at different rows, decide in changing company and are reset at different times: each has the logits of a decider
 * of its own, but for `tolerance`. */
void check_streams(struct fixture *f, size_t rounds, double tolerance);

/* A fresh scratch folder, the program's current folder until scratch_leave. For cmocka's setup and teardown. */
int scratch_enter(void **state);
int scratch_leave(void **state);
/* Do two files hold the same bytes? */
bool same_files(const char *a, const char *b);

#endif
