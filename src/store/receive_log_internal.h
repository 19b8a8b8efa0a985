/* What receive_log.c and log_stream.c share. */
#pragma once
#include "store/receive_log.h"
#include "store/syncer.h"

#define STREAM_PIECE 65536
#define STREAMS_KEPT 8

struct receive_log {
    struct receive_log_config config;
    struct syncer *sync;
    struct segment_file *current;
    uint64_t end;        /* of what was appended to `current`, staged or written */
    struct buf stage;    /* what belongs behind `written`; its memory is kept */
    uint64_t written;
    uint64_t ticket;
    uint64_t first_segment;
    int failed;          /* -EIO: a write or a sync failed */
    struct receive_log_stats stats;
    struct log_stream *kept;
    unsigned n_kept;
};

/* 0, or -EIO once anything failed. */
int receive_log_alive(struct receive_log *l);
/* Fills in position, type, lengths and CRCs for a record at `offset`. */
void receive_log_header(const struct segment_file *f, uint64_t offset, uint64_t content_len, uint32_t content_crc,
                        str meta, char out[RECORD_HEADER_SIZE]);
void log_streams_free(struct receive_log *l);
