/* SPDX-License-Identifier: BSD-2-Clause */
#include "sim/packet.h"

#include <stdlib.h>

#include "base/size.h"

enum { BLOCK = 256 };

struct aqm_packet_block {
	struct aqm_packet_block *next;
	struct aqm_packet packets[BLOCK];
};

struct aqm_packet *aqm_packet_new(struct aqm_packet_pool *pool)
{
	if (!pool->free) {
		struct aqm_packet_block *block = aqm_malloc_array(1, sizeof *block);

		if (!block)
			return NULL;
		block->next = pool->blocks;
		pool->blocks = block;
		for (int i = BLOCK; i-- > 0;) {
			block->packets[i].next = pool->free;
			pool->free = &block->packets[i];
		}
	}
	struct aqm_packet *packet = pool->free;
	pool->free = packet->next;
	if (++pool->alive > pool->peak)
		pool->peak = pool->alive;
	return packet;
}

void aqm_packet_pool_release(struct aqm_packet_pool *pool)
{
	while (pool->blocks) {
		struct aqm_packet_block *next = pool->blocks->next;

		free(pool->blocks);
		pool->blocks = next;
	}
	*pool = (struct aqm_packet_pool){0};
}
