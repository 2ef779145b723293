/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Inside of a decider: what a stream remembers (decider.c), and the passes that streams share (decider_pass.c).
 */
#ifndef AQM_POLICY_DECIDER_H
#define AQM_POLICY_DECIDER_H

#include "base/random.h"
#include "policy/internal.h"

enum { AQM_STREAMS_MOST = 4096 };

/* One router. The arrays hold the steps of its window, on the host. */
struct aqm_router {
	double left, next_left; /* return-to-go now, before mean and scale: of the window, and of the one that follows */
	int64_t steps;          /* finished ones in the window */
	uint64_t seen;          /* finished ones since the last reset */
	int slot;               /* which of the stream's caches is the window's */
	bool decided;           /* waiting for what was observed */
	struct aqm_rng rng;
	float *returns, *states, *sequences, *action_values; /* action_values: as struct aqm_batch has them */
	float *next_returns;                                 /* of the window that follows */
	int32_t *actions;
	double *rewards;
};

/* The pass of some number of streams that go one step on, as the device keeps it. */
struct aqm_recording {
	void *handle; /* NULL: none yet */
	bool ran;     /* without one: all shapes are known */
	bool failed;  /* do not try again */
};

struct aqm_decider {
	aqm_policy *policy;
	aqm_cache *cache; /* `slots` for each stream */
	double target;    /* return-to-go at a window's start */
	int64_t count;
	int slots;                  /* 2: the window that follows is cached too while the two overlap */
	struct aqm_router *streams; /* (count) */
	int64_t behind, *late;      /* streams whose next window lacks their newest step: how many, and which (count) */
	struct aqm_arena host;
	float *outputs; /* (count, outputs) of the head, on the host */

	/* Of passes of up to `most` steps: inputs on the host and on the device, the rest on the device. */
	int64_t most;
	struct aqm_arena pass_host;
	void *memory;
	char *host_inputs, *inputs;
	float *embedded, *stream, *mean, *rstd; /* ((most + 1) T, d) and ((most + 1) T) */
	float *inner;                           /* (most, e) */
	float *skipped, *read, *logits;         /* (count, d), (count, d), (count, outputs) */
	int64_t *members, *places;              /* (count): streams of the group that is run, and which of the caller's they are; */
	int64_t *caches;                        /* (count) and the caches of their windows */
	float *found;                           /* (count, outputs) of that group, on the host */
	bool *done;                             /* (count) */
	struct aqm_recording *recordings;       /* (count + 1) by number of streams */
};

/* The cache of a stream's window, or of the one that follows. */
static inline int64_t aqm_decider_cache(const aqm_decider *decider, int64_t stream, bool next)
{
	return decider->slots * stream + (decider->streams[stream].slot ^ next);
}

/* The head's outputs for the next step of stream 0, whatever is decided by them; and what was done in it: action and
 * its value as struct aqm_batch has them, the reward as the pool has it. As aqm_decider_decide and _observe otherwise. */
int aqm_decider_outputs(aqm_decider *decider, const double *features, float *outputs);
int aqm_decider_happened(aqm_decider *decider, int32_t action, float value, double reward);

int aqm_decider_allocate_pass(aqm_decider *decider);
void aqm_decider_release_pass(aqm_decider *decider);
/* Extend the caches of `count` different streams to the tokens of s_t^F of their newest steps, and give the head's outputs
 * there, (count, outputs); `next`: the caches of the windows that follow, and outputs may be NULL. 0 or AQM_ERUN. */
int aqm_decider_pass(aqm_decider *decider, int64_t count, const int64_t *streams, bool next, float *outputs);

#endif
