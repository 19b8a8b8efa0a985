/* Jobs of the store and their results: session/job.h, and what role smtp-out keeps beside. */
#include <errno.h>
#include "mta/push.h"

void push_job_free(struct push_job *j)
{
    if (!j)
        return;
    job_end(&j->job);
    free(j);
}

struct push_job *push_job_read(struct ipc_frame *f, int *out_error)
{
    struct push_job *j = calloc(1, sizeof(*j));
    *out_error = j ? job_read(f, &j->job) : -ENOMEM;
    if (*out_error == 0)
        return j;
    free(j);
    return NULL;
}

static void count(struct push *p, const struct job *j)
{
    for (uint32_t i = 0; i < j->n; i++) {
        p->relayed += j->results[i].outcome <= JOB_RELAYED_NO_DSN;
        p->deferred += j->results[i].outcome == JOB_DEFERRED;
        p->failed += j->results[i].outcome == JOB_FAILED;
    }
}

void push_job_report(struct push *p, struct push_job *j)
{
    if (!j->reported)
        count(p, &j->job);
    j->reported = true;
    job_report(role_peer(p->role, ROLE_STORE), &j->job);
}

void push_jobs_attach(struct push *p)
{
    struct job_attach a;
    struct push_job *j;
    job_attach_begin(&a, role_peer(p->role, ROLE_STORE));
    for (size_t at = 0; (j = map_next(&p->jobs, &at, NULL));)
        job_attach_add(&a, &j->job);
    job_attach_end(&a);
    for (size_t at = 0; (j = map_next(&p->jobs, &at, NULL));)
        if (j->reported)
            push_job_report(p, j);
}
