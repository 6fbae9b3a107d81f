// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "cmd/work.h"

#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "cmd/cmd.h"
#include "lib/base/thread.h"

unsigned work_jobs(uint64_t jobs)
{
	return jobs ? (unsigned)jobs : thread_processors();
}

enum progress_mode work_progress(void)
{
	if (cmd_common.quiet || !strcmp(cmd_common.progress, "none"))
		return PROGRESS_NONE;
	if (!strcmp(cmd_common.progress, "plain"))
		return PROGRESS_PLAIN;
	return isatty(STDERR_FILENO) ? PROGRESS_BAR : PROGRESS_NONE;
}

void work_raise_file_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit); /* if not, open() will say what is missing */
}
