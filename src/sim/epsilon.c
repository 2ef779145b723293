/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Random decisions now and then, on top of the rules' or of another hook's: pools that learning can use need actions
 * that nobody would take.
 */
#include <math.h>
#include <stdlib.h>

#include "base/random.h"
#include "base/size.h"
#include "aqmtrain/sim.h"

struct aqm_epsilon {
	struct aqm_sim_hook inner;
	double epsilon;
	struct aqm_rng rng;
};

static double uniform(struct aqm_epsilon *e)
{
	return aqm_rng_u32(&e->rng) * 0x1p-32;
}

static int decide(void *context, const struct aqm_decision *decision, enum aqm_action *action)
{
	struct aqm_epsilon *e = context;
	int code = e->inner.decide ? e->inner.decide(e->inner.context, decision, action) : AQM_OK;

	if (code == AQM_OK && uniform(e) < e->epsilon)
		*action = (enum aqm_action)aqm_rng_below(&e->rng, AQM_ACTIONS);
	return code;
}

/* p' becomes anything up to its double: neither larger nor smaller in the mean, which controllers would have to make up
 * for. */
static int update(void *context, const struct aqm_update *update, double *next)
{
	struct aqm_epsilon *e = context;
	int code = e->inner.update ? e->inner.update(e->inner.context, update, next) : AQM_OK;

	if (code == AQM_OK && uniform(e) < e->epsilon)
		*next = fmin(fmax(*next, 1e-4) * 2 * uniform(e), 1);
	return code;
}

int aqm_epsilon_new(struct aqm_epsilon **out, struct aqm_sim_hook *hook, double epsilon, uint64_t seed)
{
	struct aqm_epsilon *e = aqm_calloc_array(1, sizeof *e);

	*out = e;
	if (!e)
		return AQM_ERUN;
	e->inner = *hook;
	e->epsilon = epsilon;
	aqm_rng_init(&e->rng, seed, AQM_STREAM_SIM, 5);
	*hook = (struct aqm_sim_hook){e, decide, update, hook->delay};
	return AQM_OK;
}

void aqm_epsilon_free(struct aqm_epsilon *epsilon)
{
	free(epsilon);
}
