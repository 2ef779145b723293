/* SPDX-License-Identifier: BSD-2-Clause */
#include "train/reduce.h"

#include <stdlib.h>
#include <string.h>

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
	if (r->host) {
		aqm_device *device = r->params->device;

		device->ops->download(device, r->host + r->first, values, n * sizeof *values);
		values = r->host + r->first;
	}
	r->code = aqm_sums_begin(&r->sums, values, n);
	r->first = r->end = 0;
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

int aqm_reduction_init(struct aqm_reduction *reduction, aqm_ranks *ranks, struct aqm_params *params)
{
	*reduction = (struct aqm_reduction){.ranks = ranks, .params = params, .sums.ranks = ranks, .bucket = BUCKET_FLOATS};
	if (aqm_ranks_size(ranks) == 1)
		return AQM_OK;
	reduction->sent = aqm_malloc_array(params->count, sizeof *reduction->sent);
	if (params->device->own_memory)
		reduction->host = aqm_malloc_array(params->floats, sizeof *reduction->host);
	return !reduction->sent || (params->device->own_memory && !reduction->host) ? AQM_ERUN : AQM_OK;
}

void aqm_reduction_release(struct aqm_reduction *reduction)
{
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
	int code = aqm_sums_finish(&r->sums);
	r->waited += aqm_clock_seconds() - before;
	if (r->code == AQM_OK)
		r->code = code;
	if (r->host && r->code == AQM_OK)
		params->device->ops->upload(params->device, params->gradients, r->host, params->floats * sizeof *r->host);
	return r->code;
}
