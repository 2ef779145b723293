/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/command.h"

const struct aqm_command *const aqm_commands[] = {
	&aqm_command_pool,
	&aqm_command_model,
	&aqm_command_train,
	&aqm_command_eval,
	&aqm_command_distill,
	&aqm_command_export,
	&aqm_command_report,
	&aqm_command_sim,
	&aqm_command_bench,
	&aqm_command_config,
	NULL,
};
