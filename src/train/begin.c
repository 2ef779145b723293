/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A training that begins with somebody's adapter. The record of it is there before the run is, and a checkpoint right
 * after: a run that was killed in between is not taken for one that began without.
 */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/size.h"
#include "model/adapter_file.h"
#include "train/trainer.h"

static const char record_name[] = "init_adapter.json";

static int load(struct aqm_trainer *t, char digest[65])
{
	aqm_adapter_file *file;
	int code = aqm_adapter_file_open(&file, t->options->init_adapter, aqm_policy_gguf(t->policy));

	if (code != AQM_OK)
		return code;
	code = aqm_adapter_file_load(file, aqm_policy_model(t->policy), aqm_policy_params(t->policy), true);
	if (code == AQM_OK)
		code = aqm_adapter_file_digest(file, digest);
	aqm_adapter_file_free(file);
	return code;
}

static int record(const struct aqm_trainer *t, const char *record_path, const char *digest)
{
	json_t *json = json_pack("{s:s, s:s}", "path", t->options->init_adapter, "sha256", digest);
	char *text = json ? json_dumps(json, JSON_INDENT(2)) : NULL;
	int code = text ? aqm_file_write(record_path, text, strlen(text))
	                : aqm_error_set(AQM_ERUN, "cannot write '%s': no memory, or '%s' is no UTF-8", record_path,
	                                t->options->init_adapter);

	free(text);
	json_decref(json);
	return code;
}

static int begin(struct aqm_trainer *t, const char *record_path)
{
	const bool restored = t->checkpoint_step != UINT64_MAX, wanted = t->options->init_adapter != NULL;
	char digest[65];

	if (wanted && t->run.exists)
		return aqm_error_set(AQM_EUSAGE, "'%s' has begun already; only a new run can begin with an adapter",
		                     t->run.path);
	if (wanted && t->config->lora.rank == 0)
		return aqm_error_set(AQM_EUSAGE, "an adapter to begin with needs LoRA, but lora.rank is 0");
	if (t->run.exists && !restored && aqm_path_exists(record_path))
		return aqm_error_set(AQM_EUSAGE,
		                     "cannot resume '%s': it was killed before its adapter was in a checkpoint; "
		                     "remove it and train anew",
		                     t->run.path);
	if (!wanted) { /* what a start that failed may have left */
		if (!t->run.exists && unlink(record_path) != 0 && errno != ENOENT)
			return aqm_error_errno(AQM_ERUN, "cannot remove '%s'", record_path);
		return AQM_OK;
	}
	int code = load(t, digest);
	if (code == AQM_OK)
		code = record(t, record_path, digest);
	if (code == AQM_OK)
		aqm_log_info("the adapters begin with those of '%s'", t->options->init_adapter);
	return code;
}

int aqm_trainer_begin(struct aqm_trainer *t)
{
	char *record_path = aqm_path_join(t->run.path, record_name);
	int code = record_path ? begin(t, record_path) : AQM_ERUN;

	free(record_path);
	return code;
}

int aqm_trainer_keep_beginning(struct aqm_trainer *t)
{
	if (!t->options->init_adapter)
		return AQM_OK;
	t->checkpoint_step = t->state.step;
	return aqm_checkpoint_write(t->run.path, &t->state, &t->optimizer, t->config->train.keep_checkpoints);
}
