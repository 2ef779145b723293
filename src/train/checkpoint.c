/* SPDX-License-Identifier: BSD-2-Clause */
#include "train/checkpoint.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/size.h"

static const char magic[8] = "AQMCKPT\n";

enum { VERSION = 1, DIGEST = 64, CHUNK = 1 << 16 /* floats */ };

#define XX(name) +1
enum {
	STATE_BYTES =
		8 * (0 AQM_TRAIN_STATE_INTEGERS(XX) AQM_TRAIN_STATE_DOUBLES(XX)) + DIGEST * (0 AQM_TRAIN_STATE_DIGESTS(XX)),
	HEADER_BYTES = 8 + 4 + 4 + 8,
};
#undef XX

int aqm_params_layout(const struct aqm_params *params, char hex[65])
{
	aqm_sha256 *hash;
	int code = aqm_sha256_new(&hash);

	if (code != AQM_OK)
		return code;
	for (size_t i = 0; i < params->count; i++) {
		const struct aqm_param *param = &params->items[i];
		char line[256];
		int n = snprintf(line, sizeof line, "%s %" PRId64 " %" PRId64 " %zu\n", param->name, param->rows, param->cols,
		                 param->offset);

		aqm_sha256_update(hash, line, (size_t)n);
	}
	aqm_sha256_finish(hash, hex);
	return AQM_OK;
}

/* ---- bytes ---- */

static void put(uint8_t **at, uint64_t value, int bytes)
{
	for (int i = 0; i < bytes; i++)
		*(*at)++ = (uint8_t)(value >> (8 * i));
}

static uint64_t get(const uint8_t **at, int bytes)
{
	uint64_t value = 0;

	for (int i = 0; i < bytes; i++)
		value |= (uint64_t) * (*at)++ << (8 * i);
	return value;
}

static void put_double(uint8_t **at, double value)
{
	uint64_t bits;

	memcpy(&bits, &value, sizeof bits);
	put(at, bits, 8);
}

static double get_double(const uint8_t **at)
{
	uint64_t bits = get(at, 8);
	double value;

	memcpy(&value, &bits, sizeof value);
	return value;
}

static void put_digest(uint8_t **at, const char digest[65])
{
	memcpy(*at, digest, strnlen(digest, DIGEST)); /* over zeros */
	*at += DIGEST;
}

static void get_digest(const uint8_t **at, char digest[65])
{
	memcpy(digest, *at, DIGEST);
	digest[DIGEST] = '\0';
	*at += DIGEST;
}

static void pack(const struct aqm_train_state *state, uint64_t floats, uint8_t bytes[HEADER_BYTES + STATE_BYTES])
{
	uint8_t *at = bytes + sizeof magic;

	memset(bytes, 0, HEADER_BYTES + STATE_BYTES);
	memcpy(bytes, magic, sizeof magic);
	put(&at, VERSION, 4);
	put(&at, STATE_BYTES, 4);
	put(&at, floats, 8);
#define XX(name) put(&at, state->name, 8);
	AQM_TRAIN_STATE_INTEGERS(XX)
#undef XX
#define XX(name) put_double(&at, state->name);
	AQM_TRAIN_STATE_DOUBLES(XX)
#undef XX
#define XX(name) put_digest(&at, state->name);
	AQM_TRAIN_STATE_DIGESTS(XX)
#undef XX
}

static void unpack(struct aqm_train_state *state, const uint8_t bytes[STATE_BYTES])
{
	const uint8_t *at = bytes;

#define XX(name) state->name = get(&at, 8);
	AQM_TRAIN_STATE_INTEGERS(XX)
#undef XX
#define XX(name) state->name = get_double(&at);
	AQM_TRAIN_STATE_DOUBLES(XX)
#undef XX
#define XX(name) get_digest(&at, state->name);
	AQM_TRAIN_STATE_DIGESTS(XX)
#undef XX
}

/* ---- writing ---- */

static int write_block(struct aqm_atomic_file *file, aqm_sha256 *hash, aqm_device *device, const float *block,
                       size_t floats, float *buffer)
{
	for (size_t i = 0; i < floats; i += CHUNK) {
		size_t n = floats - i < CHUNK ? floats - i : CHUNK;

		device->ops->download(device, buffer, block + i, n * sizeof *buffer);
		aqm_sha256_update(hash, buffer, n * sizeof *buffer);
		int code = aqm_atomic_write(file, buffer, n * sizeof *buffer);
		if (code != AQM_OK)
			return code;
	}
	return aqm_device_check(device);
}

static int write_contents(struct aqm_atomic_file *file, const struct aqm_train_state *state,
                          const struct aqm_optimizer *optimizer)
{
	const struct aqm_params *params = optimizer->params;
	const float *const blocks[] = {params->values, optimizer->m, optimizer->v};
	uint8_t head[HEADER_BYTES + STATE_BYTES];
	char hex[65];
	aqm_sha256 *hash = NULL;
	float *buffer = aqm_malloc_array(CHUNK, sizeof *buffer);
	int code = buffer ? aqm_sha256_new(&hash) : AQM_ERUN;

	if (code == AQM_OK) {
		pack(state, params->floats, head);
		aqm_sha256_update(hash, head, sizeof head);
		code = aqm_atomic_write(file, head, sizeof head);
		for (size_t i = 0; code == AQM_OK && i < sizeof blocks / sizeof *blocks; i++)
			code = write_block(file, hash, params->device, blocks[i], params->floats, buffer);
		aqm_sha256_finish(hash, hex);
		if (code == AQM_OK)
			code = aqm_atomic_write(file, hex, DIGEST);
	}
	free(buffer);
	return code;
}

static int write_file(const char *path, const struct aqm_train_state *state, const struct aqm_optimizer *optimizer)
{
	struct aqm_atomic_file file;
	int code = aqm_atomic_open(&file, path);

	if (code != AQM_OK)
		return code;
	code = write_contents(&file, state, optimizer);
	if (code == AQM_OK)
		return aqm_atomic_commit(&file);
	aqm_atomic_abort(&file);
	return code;
}

static int check_finite(const struct aqm_train_state *state, const struct aqm_optimizer *optimizer)
{
	const struct aqm_params *params = optimizer->params;
	const float *const blocks[] = {params->values, optimizer->m, optimizer->v};
	static const char *const names[] = {"a parameter", "a first moment", "a second moment"};

	for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
		if (!isfinite(params->device->ops->sum_squares(params->device, blocks[i], params->floats)))
			return aqm_error_set(AQM_ERUN, "step %" PRIu64 ": %s is not finite; no checkpoint is written", state->step,
			                     names[i]);
	return AQM_OK;
}

/* The number in "step-N"; UINT64_MAX for any other name. */
static uint64_t step_of(const char *name)
{
	char back[64];
	uint64_t step;

	if (sscanf(name, "step-%" SCNu64, &step) != 1)
		return UINT64_MAX;
	snprintf(back, sizeof back, "step-%" PRIu64, step);
	return strcmp(name, back) == 0 ? step : UINT64_MAX;
}

static int compare_steps(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static int remove_step(const char *folder, uint64_t step)
{
	char *path = aqm_strprintf("%s/step-%" PRIu64, folder, step);
	int code = path ? aqm_remove_tree(path) : AQM_ERUN;

	free(path);
	return code;
}

/* Remove all but the newest `keep`; those newer than `newest` are of a run that was cut back, and go too. */
static int prune(const char *folder, uint64_t newest, int64_t keep)
{
	uint64_t *steps = NULL;
	size_t count = 0;
	int code = AQM_OK;
	struct dirent *entry;
	DIR *directory = opendir(folder);

	if (!directory)
		return aqm_error_errno(AQM_ERUN, "cannot read folder '%s'", folder);
	while (code == AQM_OK && (entry = readdir(directory))) {
		uint64_t step = step_of(entry->d_name);
		uint64_t *grown;

		if (step == UINT64_MAX)
			continue;
		if (step > newest) {
			code = remove_step(folder, step);
		} else if ((grown = aqm_realloc_array(steps, count + 1, sizeof *steps))) {
			steps = grown;
			steps[count++] = step;
		} else {
			code = AQM_ERUN;
		}
	}
	closedir(directory);
	if (count)
		qsort(steps, count, sizeof *steps, compare_steps);
	for (size_t i = 0; code == AQM_OK && i + (size_t)keep < count; i++)
		code = remove_step(folder, steps[i]);
	free(steps);
	return code;
}

/* Put the finished folder in its place. Where that step has a checkpoint already (an interruption came between a
 * step and the evaluation after it), its file is replaced: `latest` may point there, so the folder must not be gone
 * for a moment. */
static int install(const char *temporary, const char *path)
{
	if (!aqm_path_exists(path))
		return rename(temporary, path) == 0 ? AQM_OK : aqm_error_errno(AQM_ERUN, "cannot rename to '%s'", path);
	char *from = aqm_path_join(temporary, "state"), *to = aqm_path_join(path, "state");
	int code = from && to ? AQM_OK : AQM_ERUN;

	if (code == AQM_OK && rename(from, to) != 0)
		code = aqm_error_errno(AQM_ERUN, "cannot rename to '%s'", to);
	if (code == AQM_OK)
		code = aqm_sync_folder(path);
	if (code == AQM_OK)
		code = aqm_remove_tree(temporary);
	free(from);
	free(to);
	return code;
}

int aqm_checkpoint_write(const char *run_path, const struct aqm_train_state *state,
                         const struct aqm_optimizer *optimizer, int64_t keep)
{
	char line[64];
	char *folder = aqm_path_join(run_path, "checkpoints");
	char *path = aqm_strprintf("%s/checkpoints/step-%" PRIu64, run_path, state->step);
	char *temporary = path ? aqm_strprintf("%s.tmp-%ld", path, (long)getpid()) : NULL;
	char *file = temporary ? aqm_path_join(temporary, "state") : NULL;
	char *latest = folder ? aqm_path_join(folder, "latest") : NULL;
	int code = folder && file && latest ? check_finite(state, optimizer) : AQM_ERUN;

	if (code == AQM_OK)
		code = aqm_make_folders(temporary);
	if (code == AQM_OK)
		code = write_file(file, state, optimizer);
	if (code == AQM_OK)
		code = install(temporary, path);
	if (code == AQM_OK)
		code = aqm_sync_folder(folder);
	if (code == AQM_OK) {
		int n = snprintf(line, sizeof line, "step-%" PRIu64 "\n", state->step);

		code = aqm_file_write(latest, line, (size_t)n);
	}
	if (code == AQM_OK)
		code = prune(folder, state->step, keep);
	else if (temporary) {
		char *message = aqm_strdup(aqm_error_message()); /* that of the cause, not of the cleaning up */

		(void)aqm_remove_tree(temporary);
		if (message)
			aqm_error_set(code, "%s", message);
		free(message);
	}
	free(folder);
	free(path);
	free(temporary);
	free(file);
	free(latest);
	return code;
}

/* ---- reading ---- */

static int damaged(const char *name, const char *what)
{
	return aqm_error_set(AQM_EDATA, "cannot read checkpoint '%s': %s", name, what);
}

static bool read_exactly(FILE *stream, aqm_sha256 *hash, void *to, size_t bytes)
{
	if (fread(to, 1, bytes, stream) != bytes)
		return false;
	aqm_sha256_update(hash, to, bytes);
	return true;
}

static int read_block(FILE *stream, aqm_sha256 *hash, const char *name, aqm_device *device, float *block, size_t floats,
                      float *buffer)
{
	for (size_t i = 0; i < floats; i += CHUNK) {
		size_t n = floats - i < CHUNK ? floats - i : CHUNK;

		if (!read_exactly(stream, hash, buffer, n * sizeof *buffer))
			return damaged(name, "it ends too early");
		device->ops->upload(device, block + i, buffer, n * sizeof *buffer);
	}
	return aqm_device_check(device);
}

/* Header and state; the sizes they speak of are those of the file. */
static int read_head(FILE *stream, aqm_sha256 *hash, size_t bytes, const char *name, uint64_t floats,
                     struct aqm_train_state *state)
{
	uint8_t header[HEADER_BYTES], packed[STATE_BYTES];
	const uint8_t *at = header + sizeof magic;

	if (!read_exactly(stream, hash, header, sizeof header) || memcmp(header, magic, sizeof magic) != 0)
		return damaged(name, "it is not a checkpoint");
	uint64_t version = get(&at, 4), state_bytes = get(&at, 4), found = get(&at, 8);
	if (version != VERSION || state_bytes != STATE_BYTES)
		return aqm_error_set(AQM_EDATA,
		                     "cannot read checkpoint '%s': it has version %" PRIu64 ", this program reads %d", name,
		                     version, VERSION);
	if (found != floats)
		return aqm_error_set(AQM_EDATA, "cannot read checkpoint '%s': it holds %" PRIu64 " parameters, not %" PRIu64,
		                     name, found, floats);
	uint64_t expected = HEADER_BYTES + STATE_BYTES + 3 * sizeof(float) * floats + DIGEST;
	if (bytes != expected)
		return aqm_error_set(AQM_EDATA, "cannot read checkpoint '%s': it has %zu bytes, not %" PRIu64, name, bytes,
		                     expected);
	if (!read_exactly(stream, hash, packed, sizeof packed))
		return damaged(name, "it ends too early");
	unpack(state, packed);
	return AQM_OK;
}

static int check_state(const struct aqm_train_state *state, const struct aqm_params *params, const char *name)
{
	char layout[65];
	int code = aqm_params_layout(params, layout);

	if (code != AQM_OK)
		return code;
	if (memcmp(layout, state->layout, sizeof layout) != 0)
		return damaged(name, "its parameters are other ones than this policy has");
	if (!isfinite(state->elapsed) || !isfinite(state->epoch_loss) || isnan(state->best_score) ||
	    isnan(state->best_loss) || state->epochs_closed > state->step || state->best_step > state->step)
		return damaged(name, "its state makes no sense");
	return AQM_OK;
}

int aqm_checkpoint_read_stream(FILE *stream, size_t bytes, const char *name, struct aqm_train_state *state,
                               struct aqm_optimizer *optimizer)
{
	struct aqm_params *params = optimizer->params;
	float *const blocks[] = {params->values, optimizer->m, optimizer->v};
	char expected[65], found[DIGEST];
	aqm_sha256 *hash = NULL;
	float *buffer = aqm_malloc_array(CHUNK, sizeof *buffer);
	int code = buffer ? aqm_sha256_new(&hash) : AQM_ERUN;

	if (code == AQM_OK) {
		code = read_head(stream, hash, bytes, name, params->floats, state);
		for (size_t i = 0; code == AQM_OK && i < sizeof blocks / sizeof *blocks; i++)
			code = read_block(stream, hash, name, params->device, blocks[i], params->floats, buffer);
		aqm_sha256_finish(hash, expected);
		aqm_params_touch(params);
	}
	if (code == AQM_OK && (fread(found, 1, DIGEST, stream) != DIGEST || memcmp(found, expected, DIGEST) != 0))
		code = damaged(name, "its contents do not have the SHA-256 written in it");
	if (code == AQM_OK)
		code = check_state(state, params, name);
	free(buffer);
	return code;
}

static int read_file(const char *path, struct aqm_train_state *state, struct aqm_optimizer *optimizer)
{
	struct stat status;
	FILE *stream = fopen(path, "re");

	if (!stream)
		return aqm_error_errno(AQM_EDATA, "cannot open checkpoint '%s'", path);
	int code = fstat(fileno(stream), &status) == 0 && S_ISREG(status.st_mode)
	               ? aqm_checkpoint_read_stream(stream, (size_t)status.st_size, path, state, optimizer)
	               : damaged(path, "it is not a regular file");
	fclose(stream);
	return code;
}

int aqm_checkpoint_read(const char *run_path, struct aqm_train_state *state, struct aqm_optimizer *optimizer,
                        bool *found)
{
	char *latest = aqm_path_join(run_path, "checkpoints/latest"), *path = NULL, *line = NULL;
	size_t bytes;
	int code = latest ? AQM_OK : AQM_ERUN;

	*found = false;
	if (code == AQM_OK && !aqm_path_exists(latest))
		goto done;
	if (code == AQM_OK)
		code = aqm_file_read(latest, 64, &line, &bytes);
	if (code == AQM_OK) {
		line[strcspn(line, "\n")] = '\0';
		if (step_of(line) == UINT64_MAX)
			code = damaged(latest, "it does not name a step");
	}
	if (code == AQM_OK && !(path = aqm_strprintf("%s/checkpoints/%s/state", run_path, line)))
		code = AQM_ERUN;
	if (code == AQM_OK)
		code = read_file(path, state, optimizer);
	*found = code == AQM_OK;
done:
	free(latest);
	free(path);
	free(line);
	return code;
}
