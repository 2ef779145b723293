/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Streaming: keys and values of the tokens so far, of one window a stream. A cache has its own buffers, so that it can be
 * extended whatever else the model is used for. Streams that are extended together share each pass over the weights;
 * where their tokens go is in device memory, so a recorded pass serves any streams of any length.
 *
 * Where tokens see the future, a new one changes all that came before: then the cache holds the embeddings, and the
 * whole window runs again.
 */
#include <stdlib.h>

#include "base/size.h"
#include "model/internal.h"

/* More tokens than this are done in several passes: of one stream, of several. */
enum { MOST_ROWS = 512, MOST_ROWS_OF_STREAMS = 2048 };

struct aqm_cache {
	aqm_model *model;
	int64_t streams, capacity;
	int64_t *lengths;         /* (streams) */
	void *rows;               /* as struct aqm_pass has them; of a bidirectional model: embeddings (streams capacity, d), float32 */
	float *window;            /* a bidirectional model's copy to run, (capacity, d) */
	struct aqm_place *places; /* (streams) of those aimed at, on the host */
	void *device_places;
	void *memory; /* of the buffers */
	struct aqm_kept kept;
	struct aqm_buffers buffers;
};

static int64_t most_rows(const aqm_cache *cache)
{
	int64_t all = cache->streams * cache->capacity, most = cache->streams > 1 ? MOST_ROWS_OF_STREAMS : MOST_ROWS;

	if (cache->model->options.bidirectional)
		return cache->capacity;
	return all < most ? all : most;
}

static int allocate(aqm_cache *cache, size_t bytes)
{
	aqm_model *model = cache->model;
	const struct aqm_ops *ops = model->device->ops;
	struct aqm_arena arena;
	int code = ops->allocate(model->device, bytes, &cache->rows);

	aqm_arena_plan(&arena);
	aqm_buffers_carve(model, &cache->buffers, NULL, &arena, most_rows(cache), false);
	if (code == AQM_OK)
		code = ops->allocate(model->device, arena.used, &cache->memory);
	if (code == AQM_OK)
		code = ops->allocate(model->device, (size_t)cache->streams * sizeof(struct aqm_place), &cache->device_places);
	if (code == AQM_OK && model->options.bidirectional)
		code = ops->allocate(model->device, (size_t)(cache->capacity * model->shape.width) * sizeof(float),
		                     (void **)&cache->window);
	if (code != AQM_OK)
		return code;
	arena = (struct aqm_arena){.base = cache->memory, .capacity = arena.used};
	aqm_buffers_carve(model, &cache->buffers, &cache->kept, &arena, most_rows(cache), false);
	cache->buffers.linears.int8 = model->options.int8;
	return AQM_OK;
}

/* Bytes of what is remembered of all streams; true when that is no number. */
static bool bytes_overflow(const aqm_cache *cache, size_t *bytes)
{
	const struct aqm_model_shape *shape = &cache->model->shape;
	int64_t wide = 2 * cache->model->attentions * shape->kv_heads * shape->head_dim;
	size_t rows, floats, element = (size_t)aqm_element_bytes(cache->model->device->dtype);

	if (cache->model->options.bidirectional) {
		wide = shape->width;
		element = sizeof(float);
	}
	return aqm_size_mul_overflows((size_t)cache->streams, (size_t)cache->capacity, &rows) || rows > INT32_MAX ||
	       aqm_size_mul_overflows((size_t)wide, rows, &floats) || aqm_size_mul_overflows(floats, element, bytes);
}

int aqm_cache_new(aqm_cache **out, aqm_model *model, int64_t streams, int64_t tokens)
{
	size_t bytes = 0;

	*out = NULL;
	if (tokens <= 0 || tokens > model->shape.context)
		return aqm_error_set(AQM_EUSAGE, "a cache of %lld tokens; '%s' can take up to %lld", (long long)tokens,
		                     aqm_gguf_path(model->gguf), (long long)model->shape.context);
	if (streams <= 0)
		return aqm_error_set(AQM_EUSAGE, "a cache of %lld streams; expected one at least", (long long)streams);
	aqm_cache *cache = aqm_calloc_array(1, sizeof *cache);
	if (!cache)
		return AQM_ERUN;
	cache->model = model;
	cache->streams = streams;
	cache->capacity = tokens;
	cache->lengths = aqm_calloc_array((size_t)streams, sizeof *cache->lengths);
	cache->places = aqm_calloc_array((size_t)streams, sizeof *cache->places);
	int code = cache->lengths && cache->places ? AQM_OK : AQM_ERUN;
	if (code == AQM_OK && bytes_overflow(cache, &bytes))
		code = aqm_error_set(AQM_ERUN, "a cache of %lld streams of %lld tokens does not fit into the address space",
		                     (long long)streams, (long long)tokens);
	if (code == AQM_OK)
		code = allocate(cache, bytes);
	if (code != AQM_OK) {
		aqm_cache_free(cache);
		return code;
	}
	*out = cache;
	return AQM_OK;
}

void aqm_model_set_int8(aqm_model *model, bool int8)
{
	model->options.int8 = int8;
}

void aqm_cache_free(aqm_cache *cache)
{
	if (!cache)
		return;
	aqm_device *device = cache->model->device;
	void *const memory[] = {cache->rows, cache->memory, cache->window, cache->device_places};

	for (size_t i = 0; i < sizeof memory / sizeof *memory; i++)
		device->ops->release(device, memory[i]);
	free(cache->lengths);
	free(cache->places);
	free(cache);
}

int64_t aqm_cache_length(const aqm_cache *cache, int64_t stream)
{
	return cache->lengths[stream];
}

void aqm_cache_truncate(aqm_cache *cache, int64_t stream, int64_t tokens)
{
	if (tokens < cache->lengths[stream])
		cache->lengths[stream] = tokens < 0 ? 0 : tokens;
}

/* ---- one pass ---- */

bool aqm_cache_takes(const aqm_cache *cache, int64_t count, int64_t tokens)
{
	return !cache->model->options.bidirectional && tokens > 0 && count <= cache->buffers.rows / tokens;
}

static int check_room(const aqm_cache *cache, const int64_t *streams, int64_t count, int64_t tokens)
{
	for (int64_t i = 0; i < count; i++) {
		int64_t length = cache->lengths[streams[i]];

		if (tokens > cache->capacity - length)
			return aqm_error_set(AQM_EUSAGE, "%lld tokens more do not fit into a cache of %lld that holds %lld",
			                     (long long)tokens, (long long)cache->capacity, (long long)length);
	}
	return AQM_OK;
}

static void aim(aqm_cache *cache, const int64_t *streams, int64_t count)
{
	aqm_device *device = cache->model->device;

	for (int64_t i = 0; i < count; i++)
		cache->places[i] = (struct aqm_place){.row = (int32_t)(streams[i] * cache->capacity),
		                                      .past = (int32_t)cache->lengths[streams[i]]};
	device->ops->upload(device, cache->device_places, cache->places, (size_t)count * sizeof *cache->places);
}

int aqm_cache_aim(aqm_cache *cache, const int64_t *streams, int64_t count, int64_t tokens)
{
	int code = check_room(cache, streams, count, tokens);

	if (code != AQM_OK)
		return code;
	aqm_params_refresh(cache->model->params);
	aim(cache, streams, count);
	return AQM_OK;
}

void aqm_cache_run(const aqm_cache *cache, int64_t count, struct aqm_mat x)
{
	struct aqm_pass pass = {.windows = count,
	                        .tokens = x.rows / count,
	                        .cache = cache->rows,
	                        .cache_rows = cache->streams * cache->capacity,
	                        .places = cache->device_places};

	aqm_pass_forward(cache->model, &cache->buffers, &pass, x);
}

void aqm_cache_advance(aqm_cache *cache, const int64_t *streams, int64_t count, int64_t tokens)
{
	for (int64_t i = 0; i < count; i++)
		cache->lengths[streams[i]] += tokens;
}

/* ---- any number of passes ---- */

static void run_and_advance(aqm_cache *cache, const int64_t *streams, int64_t count, struct aqm_mat x)
{
	aim(cache, streams, count);
	aqm_cache_run(cache, count, x);
	aqm_cache_advance(cache, streams, count, x.rows / count);
}

/* x: embeddings of the next tokens in, hidden states out; the window so far runs with them. */
static void run_window(aqm_model *model, aqm_cache *cache, int64_t stream, struct aqm_mat x)
{
	const struct aqm_ops *ops = model->device->ops;
	int64_t length = cache->lengths[stream], seen = length + x.rows;
	struct aqm_pass pass = {.windows = 1, .tokens = seen};
	struct aqm_mat all = aqm_mat_f32(cache->rows, cache->streams * cache->capacity, x.cols);
	struct aqm_mat embeddings = aqm_mat_rows(all, stream * cache->capacity, seen),
				   window = aqm_mat_f32(cache->window, seen, x.cols);

	ops->copy(model->device, x, aqm_mat_rows(embeddings, length, x.rows));
	ops->copy(model->device, embeddings, window);
	aqm_pass_forward(model, &cache->buffers, &pass, window);
	ops->copy(model->device, aqm_mat_rows(window, length, x.rows), x);
	cache->lengths[stream] = seen;
}

/* Tokens of one stream, as many at a time as the buffers take. */
static void extend_one(aqm_cache *cache, int64_t stream, struct aqm_mat x)
{
	for (int64_t done = 0, n; done < x.rows; done += n) {
		n = x.rows - done < cache->buffers.rows ? x.rows - done : cache->buffers.rows;
		run_and_advance(cache, &stream, 1, aqm_mat_rows(x, done, n));
	}
}

int aqm_model_extend(aqm_model *model, aqm_cache *cache, const int64_t *streams, int64_t count, struct aqm_mat x)
{
	int64_t tokens = x.rows / count;
	int code = check_room(cache, streams, count, tokens);

	if (code != AQM_OK || tokens == 0)
		return code;
	aqm_params_refresh(model->params);
	int64_t together = tokens < cache->buffers.rows ? cache->buffers.rows / tokens : 1;

	for (int64_t first = 0, n; first < count; first += n) {
		n = model->options.bidirectional ? 1 : count - first < together ? count - first : together;
		struct aqm_mat part = aqm_mat_rows(x, first * tokens, n * tokens);

		if (model->options.bidirectional)
			run_window(model, cache, streams[first], part);
		else if (n == 1)
			extend_one(cache, streams[first], part);
		else
			run_and_advance(cache, streams + first, n, part);
	}
	return AQM_OK;
}
