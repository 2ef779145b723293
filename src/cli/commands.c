/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/command.h"

const struct aqm_command *const aqm_commands[] = {
#ifdef AQM_HAVE_CMD_POOL
	&aqm_command_pool,
#endif
#ifdef AQM_HAVE_CMD_MODEL
	&aqm_command_model,
#endif
#ifdef AQM_HAVE_CMD_TRAIN
	&aqm_command_train,
#endif
#ifdef AQM_HAVE_CMD_EVAL
	&aqm_command_eval,
#endif
#ifdef AQM_HAVE_CMD_EXPORT
	&aqm_command_export,
#endif
#ifdef AQM_HAVE_CMD_BENCH
	&aqm_command_bench,
#endif
#ifdef AQM_HAVE_CMD_CONFIG
	&aqm_command_config,
#endif
	NULL,
};
