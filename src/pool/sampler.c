/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Which windows an epoch consists of, and which an evaluation.
 */
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "base/size.h"
#include "pool/store.h"

struct span {
	size_t start, length;
};

struct aqm_sampler {
	enum aqm_sampler_kind kind;
	uint64_t seed;
	size_t rows, window, count;
	struct span *episodes;
	size_t episode_count;
	/* transitions: rows whose action differs from the row before. balanced: all rows, a class after the other. */
	size_t *picks;
	size_t class_first[AQM_ACTIONS + 1]; /* balanced: places in picks */
	size_t pick_count;
	struct aqm_window *windows; /* of the epoch */
	/* uniform, tiles: one tiling. transitions: the order of picks. */
	struct aqm_window *tiles;
	size_t *order;
	size_t order_size;
};

static bool is_tiled(enum aqm_sampler_kind kind)
{
	return kind == AQM_SAMPLER_UNIFORM || kind == AQM_SAMPLER_TILES;
}

/* ---- making ---- */

static int copy_spans(aqm_sampler *sampler, const aqm_pool *pool)
{
	sampler->episode_count = pool->episode_count;
	sampler->episodes = aqm_malloc_array(pool->episode_count, sizeof *sampler->episodes);
	if (!sampler->episodes)
		return AQM_ERUN;
	for (size_t e = 0; e < pool->episode_count; e++)
		sampler->episodes[e] = (struct span){(size_t)pool->episodes[e].start, (size_t)pool->episodes[e].length};
	return AQM_OK;
}

static int pick_transitions(aqm_sampler *sampler, const uint8_t *actions)
{
	for (size_t e = 0; e < sampler->episode_count; e++) {
		const struct span *s = &sampler->episodes[e];

		for (size_t i = s->start + 1; i < s->start + s->length; i++)
			if (actions[i] != actions[i - 1])
				sampler->picks[sampler->pick_count++] = i;
	}
	if (sampler->pick_count == 0)
		return aqm_error_set(AQM_EDATA, "no action changes in the pool: the sampler 'transitions' has nothing to draw");
	return AQM_OK;
}

static void pick_classes(aqm_sampler *sampler, const uint8_t *actions)
{
	for (unsigned a = 0; a < AQM_ACTIONS; a++) {
		sampler->class_first[a] = sampler->pick_count;
		for (size_t i = 0; i < sampler->rows; i++)
			if (actions[i] == a)
				sampler->picks[sampler->pick_count++] = i;
	}
	sampler->class_first[AQM_ACTIONS] = sampler->pick_count;
}

/* Windows that one tiling of an episode needs at most: one that ends at the offset, whole ones, one at the end. */
static size_t tiles_at_most(size_t length, size_t window)
{
	return length <= window ? 1 : length / window + 2;
}

static int make_room(aqm_sampler *sampler)
{
	size_t tiles = 0;

	for (size_t e = 0; e < sampler->episode_count; e++)
		tiles += tiles_at_most(sampler->episodes[e].length, sampler->window);
	sampler->order_size = is_tiled(sampler->kind) ? tiles : sampler->pick_count;
	sampler->order = aqm_malloc_array(sampler->order_size, sizeof *sampler->order);
	sampler->windows = aqm_calloc_array(sampler->count, sizeof *sampler->windows);
	if (is_tiled(sampler->kind))
		sampler->tiles = aqm_malloc_array(tiles, sizeof *sampler->tiles);
	return sampler->order && sampler->windows && (sampler->tiles || !is_tiled(sampler->kind)) ? AQM_OK : AQM_ERUN;
}

/* Windows that see all rows about once; of tiles, all that there are. */
static size_t default_count(const aqm_sampler *sampler)
{
	size_t w = sampler->window, count = 0;

	if (sampler->kind != AQM_SAMPLER_TILES)
		return sampler->rows / w + (sampler->rows % w != 0);
	for (size_t e = 0; e < sampler->episode_count; e++)
		count += sampler->episodes[e].length <= w ? 1 : sampler->episodes[e].length / w;
	return count;
}

int aqm_sampler_new(aqm_sampler **out, enum aqm_sampler_kind kind, const aqm_pool *pool, const uint8_t *actions,
                    size_t window, size_t windows_per_epoch, uint64_t seed)
{
	*out = NULL;
	if (window == 0)
		return aqm_error_set(AQM_EUSAGE, "a window has no rows");
	if (pool->rows == 0)
		return aqm_error_set(AQM_EDATA, "'%s' has no rows", pool->path);
	aqm_sampler *sampler = aqm_calloc_array(1, sizeof *sampler);
	if (!sampler)
		return AQM_ERUN;
	sampler->kind = kind;
	sampler->seed = seed;
	sampler->rows = (size_t)pool->rows;
	sampler->window = window;
	int code = copy_spans(sampler, pool);
	if (code == AQM_OK)
		sampler->count = windows_per_epoch ? windows_per_epoch : default_count(sampler);
	if (code == AQM_OK && !is_tiled(kind) &&
	    !(sampler->picks = aqm_malloc_array(sampler->rows, sizeof *sampler->picks)))
		code = AQM_ERUN;
	if (code == AQM_OK && kind == AQM_SAMPLER_TRANSITIONS)
		code = pick_transitions(sampler, actions);
	if (code == AQM_OK && kind == AQM_SAMPLER_BALANCED)
		pick_classes(sampler, actions);
	if (code == AQM_OK)
		code = make_room(sampler);
	if (code == AQM_OK)
		code = aqm_sampler_start_epoch(sampler, 0);
	if (code != AQM_OK) {
		aqm_sampler_free(sampler);
		return code;
	}
	*out = sampler;
	return AQM_OK;
}

void aqm_sampler_free(aqm_sampler *sampler)
{
	if (!sampler)
		return;
	free(sampler->episodes);
	free(sampler->picks);
	free(sampler->windows);
	free(sampler->tiles);
	free(sampler->order);
	free(sampler);
}

size_t aqm_sampler_windows(const aqm_sampler *sampler)
{
	return sampler->count;
}

struct aqm_window aqm_sampler_window(const aqm_sampler *sampler, size_t index)
{
	return sampler->windows[index];
}

/* ---- epochs ---- */

static struct aqm_window window_at(const struct span *episode, size_t offset, size_t window)
{
	size_t left = episode->length - offset;

	return (struct aqm_window){episode->start + offset, left < window ? left : window, offset};
}

/* One tiling of all episodes from their first rows on, without what is left behind the last whole window. */
static size_t tile_from_start(aqm_sampler *sampler)
{
	size_t w = sampler->window, n = 0;

	for (size_t e = 0; e < sampler->episode_count; e++) {
		const struct span *episode = &sampler->episodes[e];

		if (episode->length <= w)
			sampler->tiles[n++] = window_at(episode, 0, w);
		else
			for (size_t at = 0; at + w <= episode->length; at += w)
				sampler->tiles[n++] = window_at(episode, at, w);
	}
	return n;
}

/* One tiling of all episodes, each from an offset of its own. Windows at both ends of an episode are moved inside,
 * where they overlap their neighbours, so that all are whole. */
static size_t tile(aqm_sampler *sampler, struct aqm_rng *rng)
{
	size_t w = sampler->window, n = 0;

	for (size_t e = 0; e < sampler->episode_count; e++) {
		const struct span *episode = &sampler->episodes[e];

		if (episode->length <= w) {
			sampler->tiles[n++] = window_at(episode, 0, w);
			continue;
		}
		size_t at = (size_t)aqm_rng_below(rng, w);
		if (at > 0)
			sampler->tiles[n++] = window_at(episode, 0, w);
		for (; at + w <= episode->length; at += w)
			sampler->tiles[n++] = window_at(episode, at, w);
		if (at < episode->length)
			sampler->tiles[n++] = window_at(episode, episode->length - w, w);
	}
	return n;
}

static void shuffled_order(aqm_sampler *sampler, struct aqm_rng *rng, size_t count)
{
	for (size_t i = 0; i < count; i++)
		sampler->order[i] = i;
	aqm_rng_shuffle(rng, sampler->order, count);
}

/* Tilings one after another until there are windows enough. */
static void start_tilings(aqm_sampler *sampler, struct aqm_rng *rng)
{
	for (size_t n = 0; n < sampler->count;) {
		size_t tiles = sampler->kind == AQM_SAMPLER_TILES ? tile_from_start(sampler) : tile(sampler, rng);

		shuffled_order(sampler, rng, tiles);
		for (size_t i = 0; i < tiles && n < sampler->count; i++)
			sampler->windows[n++] = sampler->tiles[sampler->order[i]];
	}
}

static const struct span *episode_of(const aqm_sampler *sampler, size_t row)
{
	size_t low = 0, high = sampler->episode_count;

	while (high - low > 1) {
		size_t middle = low + (high - low) / 2;

		if (sampler->episodes[middle].start <= row)
			low = middle;
		else
			high = middle;
	}
	return &sampler->episodes[low];
}

/* A window at a random place that holds rows first .. last of one episode, as far as it is long enough for both. */
static struct aqm_window window_around(const aqm_sampler *sampler, struct aqm_rng *rng, size_t first, size_t last)
{
	const struct span *episode = episode_of(sampler, last);
	size_t w = sampler->window;

	if (episode->length <= w)
		return window_at(episode, 0, w);
	if (last - first >= w)
		first = last;
	size_t lowest = last + 1 > episode->start + w ? last + 1 - w - episode->start : 0;
	size_t highest = first - episode->start, most = episode->length - w;
	if (highest > most)
		highest = most;
	return window_at(episode, lowest + (size_t)aqm_rng_below(rng, highest - lowest + 1), w);
}

/* Each change once before any comes again. */
static void start_transitions(aqm_sampler *sampler, struct aqm_rng *rng)
{
	for (size_t n = 0; n < sampler->count;) {
		shuffled_order(sampler, rng, sampler->pick_count);
		for (size_t i = 0; i < sampler->pick_count && n < sampler->count; i++) {
			size_t row = sampler->picks[sampler->order[i]];

			sampler->windows[n++] = window_around(sampler, rng, row - 1, row);
		}
	}
}

/* Classes that the pool has, with equal probability; then a row of the class. */
static void start_balanced(aqm_sampler *sampler, struct aqm_rng *rng)
{
	size_t present[AQM_ACTIONS], classes = 0;

	for (size_t a = 0; a < AQM_ACTIONS; a++)
		if (sampler->class_first[a + 1] > sampler->class_first[a])
			present[classes++] = a;
	for (size_t n = 0; n < sampler->count; n++) {
		size_t a = present[aqm_rng_below(rng, classes)], first = sampler->class_first[a];
		size_t row = sampler->picks[first + (size_t)aqm_rng_below(rng, sampler->class_first[a + 1] - first)];

		sampler->windows[n] = window_around(sampler, rng, row, row);
	}
}

int aqm_sampler_start_epoch(aqm_sampler *sampler, uint32_t epoch)
{
	struct aqm_rng rng;

	aqm_rng_init(&rng, sampler->seed, AQM_STREAM_SAMPLER, epoch);
	if (is_tiled(sampler->kind))
		start_tilings(sampler, &rng);
	else if (sampler->kind == AQM_SAMPLER_TRANSITIONS)
		start_transitions(sampler, &rng);
	else
		start_balanced(sampler, &rng);
	return AQM_OK;
}

/* ---- evaluation ---- */

size_t aqm_eval_windows(const aqm_pool *pool, size_t window, size_t capacity, struct aqm_window *windows,
                        size_t *score_from)
{
	size_t step = window > 1 ? window / 2 : 1, n = 0;

	for (size_t e = 0; e < pool->episode_count; e++) {
		struct span episode = {(size_t)pool->episodes[e].start, (size_t)pool->episodes[e].length};

		for (size_t at = 0, scored = 0; scored < episode.length; at += step, n++) {
			struct aqm_window w = window_at(&episode, at, window);

			if (n < capacity) {
				windows[n] = w;
				if (score_from)
					score_from[n] = scored - at;
			}
			scored = at + w.length;
		}
	}
	return n;
}
