/* SPDX-License-Identifier: BSD-2-Clause
 *
 * run.json: what a training was made from and what it took, for people and for reports. Nothing reads it back to train.
 */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/size.h"
#include "base/thread.h"
#include "train/trainer.h"

static const char record_name[] = "run.json";

/* {"path", "sha256", "rows", "episodes", "actions":{"enqueue", ...}}; null for no pool. Actions only where they
 * are what is learned. */
static json_t *pool_json(const struct aqm_trainer *t, const aqm_pool *pool)
{
	if (!pool)
		return json_null();
	size_t rows = aqm_pool_rows(pool), counts[AQM_ACTIONS] = {0};
	json_t *object =
		json_pack("{s:s%, s:s, s:I, s:I}", "path", aqm_pool_path(pool), strlen(aqm_pool_path(pool)), "sha256",
	              aqm_pool_digest(pool), "rows", (json_int_t)rows, "episodes", (json_int_t)aqm_pool_episodes(pool));
	uint8_t *actions = t->config->control == AQM_CONTROL_PACKET ? aqm_malloc_array(rows, 1) : NULL;

	if (object && actions && aqm_pool_actions(pool, t->config->pool.labels, actions) == AQM_OK) {
		json_t *named = json_object();

		for (size_t i = 0; i < rows; i++)
			counts[actions[i] % AQM_ACTIONS]++;
		for (int a = 0; a < AQM_ACTIONS; a++)
			json_object_set_new(named, aqm_action_names[a], json_integer((json_int_t)counts[a]));
		json_object_set_new(object, "actions", named);
	}
	free(actions);
	return object;
}

static json_t *base_json(const struct aqm_trainer *t)
{
	aqm_gguf *gguf = aqm_policy_gguf(t->policy);
	const char *architecture = "", *path = aqm_gguf_path(gguf);
	double numbers = 0, bytes = 0;

	if (aqm_gguf_get_string(gguf, "general.architecture", &architecture) != AQM_OK)
		architecture = "";
	for (size_t i = 0; i < aqm_gguf_tensors(gguf); i++) {
		const struct aqm_gguf_tensor *tensor = aqm_gguf_tensor(gguf, i);

		numbers += (double)tensor->ne[0] * (double)tensor->ne[1] * (double)tensor->ne[2] * (double)tensor->ne[3];
		bytes += (double)tensor->bytes;
	}
	return json_pack("{s:s%, s:s, s:s, s:I, s:I}", "path", path, strlen(path), "sha256", t->state.base, "architecture",
	                 architecture, "parameters", (json_int_t)numbers, "bytes", (json_int_t)bytes);
}

int aqm_trainer_record(const struct aqm_trainer *t, bool finished)
{
	double elapsed = t->started > 0 ? t->elapsed_before + aqm_clock_seconds() - t->started : t->elapsed_before;
	char *path = aqm_path_join(t->run.path, record_name), *text = NULL;
	json_t *json =
		json_pack("{s:s, s:b, s:o, s:o, s:o, s:I, s:i, s:s, s:I, s:I, s:I, s:I, s:I, s:o}", "version", AQM_VERSION,
	              "finished", finished, "base", base_json(t), "train", pool_json(t, t->train.pool), "eval",
	              pool_json(t, t->eval.pool), "seed", (json_int_t)t->config->seed, "threads", aqm_threads(), "device",
	              aqm_policy_device(t->policy)->ops->name, "steps", (json_int_t)t->steps, "trainable",
	              (json_int_t)aqm_params_trainable(aqm_policy_params(t->policy)), "memory_planned_bytes",
	              (json_int_t)t->memory_planned, "memory_peak_bytes", (json_int_t)aqm_memory_peak(), "best_epoch",
	              (json_int_t)t->state.best_epoch, "elapsed_s", aqm_json_number(elapsed));
	int code = AQM_OK;

	if (path && json)
		text = json_dumps(json, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
	if (!path)
		code = AQM_ERUN;
	else if (text) /* a path that is no UTF-8 cannot be said in JSON: then there is no record, and no harm */
		code = aqm_file_write(path, text, strlen(text));
	free(path);
	free(text);
	json_decref(json);
	return code;
}
