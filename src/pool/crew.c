/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Threads that shuffle and deflate column chunks, in HDF5's own formats (filters 2 and 1).
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/size.h"
#include "pool/table.h"

struct aqm_crew {
	pthread_mutex_t lock;
	pthread_cond_t queued, done;
	struct aqm_job *first, **last;
	bool stop;
	int compression;
	int threads;
	pthread_t ids[];
};

size_t aqm_job_bound(size_t bytes)
{
	return compressBound(bytes);
}

/* Byte k of every item, then byte k + 1 of every item. */
static void shuffle(uint8_t *restrict to, const uint8_t *restrict from, size_t items, size_t item)
{
	for (size_t k = 0; k < item; k++)
		for (size_t i = 0; i < items; i++)
			to[k * items + i] = from[i * item + k];
}

static bool deflate_job(struct aqm_job *job, z_stream *stream, uint8_t *scratch)
{
	const uint8_t *from = job->raw;

	if (job->item > 1) {
		if (job->item == 8)
			shuffle(scratch, from, job->bytes / 8, 8);
		else if (job->item == 4)
			shuffle(scratch, from, job->bytes / 4, 4);
		else
			shuffle(scratch, from, job->bytes / job->item, job->item);
		from = scratch;
	}
	if (deflateReset(stream) != Z_OK)
		return false;
	stream->next_in = (Bytef *)(uintptr_t)from;
	stream->avail_in = (uInt)job->bytes;
	stream->next_out = job->out;
	stream->avail_out = (uInt)compressBound(job->bytes);
	if (deflate(stream, Z_FINISH) != Z_STREAM_END)
		return false;
	job->out_bytes = stream->total_out;
	return true;
}

static void *work(void *argument)
{
	aqm_crew *crew = argument;
	z_stream stream = {0};
	uint8_t *scratch = malloc(AQM_CHUNK_ROWS * sizeof(uint64_t));
	bool able = scratch && deflateInit(&stream, crew->compression) == Z_OK;

	pthread_mutex_lock(&crew->lock);
	for (;;) {
		while (!crew->first && !crew->stop)
			pthread_cond_wait(&crew->queued, &crew->lock);
		struct aqm_job *job = crew->first;
		if (!job)
			break;
		crew->first = job->next;
		if (!crew->first)
			crew->last = &crew->first;
		pthread_mutex_unlock(&crew->lock);

		bool good = able && deflate_job(job, &stream, scratch);
		pthread_mutex_lock(&crew->lock);
		job->state = good ? AQM_JOB_DONE : AQM_JOB_FAILED;
		pthread_cond_signal(&crew->done);
	}
	pthread_mutex_unlock(&crew->lock);
	deflateEnd(&stream);
	free(scratch);
	return NULL;
}

int aqm_crew_new(aqm_crew **out, int threads, int compression)
{
	aqm_crew *crew = calloc(1, sizeof *crew + (size_t)threads * sizeof(pthread_t));

	*out = NULL;
	if (!crew)
		return aqm_error_set(AQM_ERUN, "no memory for %d threads", threads);
	pthread_mutex_init(&crew->lock, NULL);
	pthread_cond_init(&crew->queued, NULL);
	pthread_cond_init(&crew->done, NULL);
	crew->last = &crew->first;
	crew->compression = compression;
	for (; crew->threads < threads; crew->threads++)
		if (pthread_create(&crew->ids[crew->threads], NULL, work, crew) != 0)
			break;
	if (crew->threads == 0) {
		aqm_crew_free(crew);
		return aqm_error_set(AQM_ERUN, "cannot start a thread");
	}
	*out = crew;
	return AQM_OK;
}

void aqm_crew_free(aqm_crew *crew)
{
	if (!crew)
		return;
	pthread_mutex_lock(&crew->lock);
	crew->stop = true;
	pthread_cond_broadcast(&crew->queued);
	pthread_mutex_unlock(&crew->lock);
	for (int i = 0; i < crew->threads; i++)
		pthread_join(crew->ids[i], NULL);
	pthread_mutex_destroy(&crew->lock);
	pthread_cond_destroy(&crew->queued);
	pthread_cond_destroy(&crew->done);
	free(crew);
}

void aqm_crew_submit(aqm_crew *crew, struct aqm_job *job)
{
	pthread_mutex_lock(&crew->lock);
	job->state = AQM_JOB_QUEUED;
	job->next = NULL;
	*crew->last = job;
	crew->last = &job->next;
	pthread_cond_signal(&crew->queued);
	pthread_mutex_unlock(&crew->lock);
}

int aqm_crew_wait(aqm_crew *crew, struct aqm_job *job)
{
	pthread_mutex_lock(&crew->lock);
	while (job->state == AQM_JOB_QUEUED)
		pthread_cond_wait(&crew->done, &crew->lock);
	bool good = job->state == AQM_JOB_DONE;
	job->state = AQM_JOB_IDLE;
	pthread_mutex_unlock(&crew->lock);
	return good ? AQM_OK : aqm_error_set(AQM_ERUN, "cannot compress %zu bytes: no memory", job->bytes);
}
