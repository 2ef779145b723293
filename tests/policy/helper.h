/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A small policy over a golden base and a made-up pool.
 */
#ifndef TEST_POLICY_HELPER_H
#define TEST_POLICY_HELPER_H

#include "../check.h"

#include "policy/policy.h"

struct fixture {
	struct aqm_config config;
	aqm_pool *pool;
	struct aqm_fit fit;
	struct aqm_rows rows;
	aqm_policy *policy;
};

/* "<tests/golden/policy>/<file>"; valid until the next call. */
const char *golden_path(const char *file);
/* Two episodes, ROWS rows of current_qdelay, drop_prob, len_bytes, pkt_len that wander; actions that follow from
 * them. */
enum { ROWS = 61, SECOND_EPISODE = 37 };
aqm_pool *make_pool(void);
/* The configuration of these tests with `settings` (assignments, NULL-terminated) on top, the pool (for control: update
 * its intervals: a row less an episode, for drop_prob changes with every row), and a policy
 * over the golden base `base` ("llama.gguf") with buffers for `windows` windows, its LoRA B filled with noise so
 * that adapters matter. */
void fixture_init(struct fixture *f, const char *base, const char *const *settings, int64_t windows, bool training);
void fixture_release(struct fixture *f);
/* Fill every parameter that is all zero with noise of deviation `scale`. */
void shake(aqm_policy *policy, float scale);

#endif
