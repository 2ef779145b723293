/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Policies that nobody would want, to see that the evaluation says so.
 */
#include <stdlib.h>

#include "base/random.h"
#include "base/size.h"
#include "eval/closed.h"

struct aqm_sanity {
	double share;
	struct aqm_rng rng;
};

static int decide(void *context, const struct aqm_decision *decision, enum aqm_action *action)
{
	struct aqm_sanity *s = context;

	(void)decision;
	*action = s->share > 0 && aqm_rng_u32(&s->rng) * 0x1p-32 < s->share ? AQM_DROP : AQM_ENQUEUE;
	return AQM_OK;
}

int aqm_sanity_new(struct aqm_sanity **out, struct aqm_sim_hook *hook, double share, uint64_t seed)
{
	struct aqm_sanity *s = aqm_calloc_array(1, sizeof *s);

	*out = s;
	if (!s)
		return AQM_ERUN;
	s->share = share;
	aqm_rng_init(&s->rng, seed, AQM_STREAM_SIM, 6);
	*hook = (struct aqm_sim_hook){.context = s, .decide = decide};
	return AQM_OK;
}

void aqm_sanity_free(struct aqm_sanity *sanity)
{
	free(sanity);
}
