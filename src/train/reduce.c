/* SPDX-License-Identifier: BSD-2-Clause */
#include "train/reduce.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/progress.h"
#include "base/size.h"

/* Large enough that a message is bandwidth, small enough that the last one is short beside a backward pass. */
enum { BUCKET_FLOATS = 1 << 20 };

static size_t first_float(const struct aqm_params *params, int64_t index)
{
	return index < (int64_t)params->count ? params->items[index].offset : params->floats;
}

/* What is complete goes on its way. */
static void send(struct aqm_reduction *r)
{
	size_t n = r->end - r->first;
	float *values = r->params->gradients + r->first;

	if (n == 0 || r->code != AQM_OK)
		return;
	r->first = r->end = 0;
	if (r->gpus) {
		r->code = aqm_collective_sum(r->gpus, values, n);
		return;
	}
	if (r->host) {
		aqm_device *device = r->params->device;
		float *twin = r->host + (values - r->params->gradients);

		device->ops->download(device, twin, values, n * sizeof *values);
		values = twin;
	}
	r->code = aqm_sums_begin(&r->sums, values, n);
}

/* Parameters [first, first + count) join the bucket if they lie beside it, else a new one. */
static void complete(void *context, int64_t first, int64_t count)
{
	struct aqm_reduction *r = context;
	size_t from = first_float(r->params, first), to = first_float(r->params, first + count);

	for (int64_t i = first; i < first + count; i++)
		r->sent[i] = true;
	if (to == r->first && r->end > r->first) {
		r->first = from;
	} else {
		send(r);
		r->first = from;
		r->end = to;
	}
	if (r->end - r->first >= r->bucket)
		send(r);
	if (r->code == AQM_OK)
		r->code = aqm_sums_progress(&r->sums);
}

/* NCCL, if every rank has a GPU and can; else all go through the host. */
static int open_group(struct aqm_reduction *r)
{
	unsigned char id[AQM_COLLECTIVE_ID_BYTES] = {0};
	bool without = false;
	int code = aqm_ranks_any(r->ranks, !r->params->device->own_memory, &without);

	if (code != AQM_OK || without)
		return code;
	int made = aqm_ranks_agree(r->ranks, aqm_collective_open(&r->gpus, r->params->device));
	if (made == AQM_OK)
		made = aqm_ranks_agree(r->ranks, aqm_ranks_first(r->ranks) ? aqm_collective_id(id) : AQM_OK);
	if (made == AQM_OK)
		made = aqm_ranks_broadcast(r->ranks, id, sizeof id);
	if (made == AQM_OK)
		made = aqm_ranks_agree(r->ranks,
		                       aqm_collective_join(r->gpus, aqm_ranks_rank(r->ranks), aqm_ranks_size(r->ranks), id));
	if (made == AQM_OK)
		return AQM_OK;
	aqm_collective_leave(r->gpus);
	aqm_collective_close(r->gpus);
	r->gpus = NULL;
	aqm_log_warning("gradients go through the hosts' memory: %s", aqm_error_message());
	return AQM_OK;
}

int aqm_reduction_init(struct aqm_reduction *reduction, aqm_ranks *ranks, struct aqm_params *params)
{
	*reduction = (struct aqm_reduction){.ranks = ranks, .params = params, .sums.ranks = ranks, .bucket = BUCKET_FLOATS};
	if (aqm_ranks_size(ranks) == 1)
		return AQM_OK;
	reduction->sent = aqm_malloc_array(params->count, sizeof *reduction->sent);
	if (!reduction->sent)
		return AQM_ERUN;
	int code = open_group(reduction);
	if (code != AQM_OK)
		return code;
	bool staged = params->device->own_memory && !reduction->gpus;
	if (staged)
		reduction->host = aqm_malloc_array(params->floats, sizeof *reduction->host);
	return staged && !reduction->host ? AQM_ERUN : AQM_OK;
}

void aqm_reduction_release(struct aqm_reduction *reduction)
{
	aqm_collective_close(reduction->gpus);
	free(reduction->sent);
	free(reduction->host);
}

void aqm_reduction_begin(struct aqm_reduction *reduction)
{
	if (!reduction->sent)
		return;
	memset(reduction->sent, 0, reduction->params->count * sizeof *reduction->sent);
	reduction->first = reduction->end = 0;
	reduction->code = AQM_OK;
	reduction->params->ready = complete;
	reduction->params->ready_context = reduction;
}

/* All. A group in which one has failed is no group any more. */
static int finish_group(struct aqm_reduction *r)
{
	bool failed = false;
	int code = r->code == AQM_OK ? aqm_collective_finish(r->gpus) : r->code;

	if (code != AQM_OK)
		aqm_collective_leave(r->gpus); /* at once: others may wait for its part of a sum */
	int told = aqm_ranks_any(r->ranks, code != AQM_OK, &failed);
	if (failed)
		aqm_collective_leave(r->gpus);
	return code == AQM_OK ? told : code;
}

int aqm_reduction_finish(struct aqm_reduction *r)
{
	struct aqm_params *params = r->params;
	int64_t count = (int64_t)params->count;

	if (!r->sent)
		return AQM_OK;
	params->ready = NULL;
	send(r);
	for (int64_t i = 0, next; i < count; i = next) { /* what no pass has told of: encoder, embeddings, tables */
		for (next = i; next < count && !r->sent[next]; next++)
			;
		if (next > i) {
			r->first = first_float(params, i);
			r->end = first_float(params, next);
			send(r);
		} else {
			next = i + 1;
		}
	}
	double before = aqm_clock_seconds();
	int code = r->gpus ? finish_group(r) : aqm_sums_finish(&r->sums);
	r->waited += aqm_clock_seconds() - before;
	if (r->code == AQM_OK)
		r->code = code;
	if (r->host && r->code == AQM_OK)
		params->device->ops->upload(params->device, params->gradients, r->host, params->floats * sizeof *r->host);
	return r->code;
}
