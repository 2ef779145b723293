/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0
 *
 * A student at the egress of a Linux interface, as a tc classifier (clsact, direct action). Packets do not wait here:
 * they pass through a virtual DualPI2 queue at the rate that is set in the map `settings`, and the student marks or
 * drops what it would in a real one. Not-ECT packets that it would mark are dropped. What is neither IPv4 nor IPv6
 * passes.
 *
 *     clang -O2 -g -target bpf -ffreestanding -include student.h -c student_tc.bpf.c
 *
 * The queue is shared by all CPUs under one spin lock; counters are a CPU's own.
 */
#include <stdint.h>

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "virtual_queue.h"

struct port {
	struct bpf_spin_lock lock;
	struct virtual_port queues;
};

/* By queue: classic, L4S. */
struct counters {
	__u64 packets[VIRTUAL_QUEUES];
	__u64 bytes[VIRTUAL_QUEUES];
	__u64 marked[VIRTUAL_QUEUES];
	__u64 dropped[VIRTUAL_QUEUES];
	__u64 unmarkable[VIRTUAL_QUEUES]; /* of those dropped: the mark failed in the packet */
	__u64 passed;                     /* not looked at */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct virtual_settings);
} settings SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct port);
} ports SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct counters);
} counters SEC(".maps");

/* The two ECN bits; negative when this is no IP packet. */
static __always_inline int read_codepoint(struct __sk_buff *skb)
{
	__u8 begin[2]; /* of the IP header: TOS in the second byte; in IPv6 the traffic class lies over both */

	if (skb->protocol != bpf_htons(ETH_P_IP) && skb->protocol != bpf_htons(ETH_P_IPV6))
		return -1;
	if (bpf_skb_load_bytes_relative(skb, 0, begin, sizeof begin, BPF_HDR_START_NET) < 0)
		return -1;
	return skb->protocol == bpf_htons(ETH_P_IP) ? begin[1] & 3 : begin[1] >> 4 & 3;
}

/* A segmented packet counts with all its bytes on the link, and is shown to the student as one of its segments. */
static __always_inline void measure(const struct __sk_buff *skb, struct virtual_packet *packet)
{
	packet->bytes = skb->wire_len ? skb->wire_len : skb->len;
	packet->pkt_len = skb->len > ETH_HLEN ? skb->len - ETH_HLEN : skb->len;
	if (skb->gso_segs > 1 && skb->gso_size + 52 < packet->pkt_len)
		packet->pkt_len = skb->gso_size + 52; /* TCP and IP headers with time stamps */
}

SEC("tc")
int student(struct __sk_buff *skb)
{
	__u32 zero = 0, queue, action;
	struct virtual_settings *set = bpf_map_lookup_elem(&settings, &zero);
	struct port *port = bpf_map_lookup_elem(&ports, &zero);
	struct counters *count = bpf_map_lookup_elem(&counters, &zero);
	struct virtual_packet packet;
	int codepoint = read_codepoint(skb);

	if (!set || !port || !count)
		return TC_ACT_UNSPEC;
	struct virtual_settings set_now = *set; /* they may be written meanwhile */
	if (codepoint < 0 || set_now.rate == 0) {
		count->passed++;
		return TC_ACT_UNSPEC;
	}
	measure(skb, &packet);
	packet.codepoint = (__u32)codepoint;
	queue = codepoint & VIRTUAL_ECT1 ? VIRTUAL_L4S : VIRTUAL_CLASSIC;

	__u64 now = bpf_ktime_get_ns();
	bpf_spin_lock(&port->lock);
	action = virtual_arrive(&port->queues, &set_now, now, &packet);
	bpf_spin_unlock(&port->lock);

	count->packets[queue]++;
	count->bytes[queue] += packet.bytes;
	if (action == AQM_STUDENT_MARK) {
		if (set_now.watch || bpf_skb_ecn_set_ce(skb) > 0)
			count->marked[queue]++;
		else
			action = AQM_STUDENT_DROP, count->unmarkable[queue]++;
	}
	if (action == AQM_STUDENT_DROP) {
		count->dropped[queue]++;
		if (!set_now.watch)
			return TC_ACT_SHOT;
	}
	return TC_ACT_UNSPEC;
}

const char terms[] SEC("license") = "Dual BSD/GPL";
