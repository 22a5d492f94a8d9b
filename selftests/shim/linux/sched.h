/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef SHIM_LINUX_SCHED_H
#define SHIM_LINUX_SCHED_H

/* user space is preempted as it is */
static inline void cond_resched(void)
{
}

#endif
