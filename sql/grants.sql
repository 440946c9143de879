-- Who may do what. PUBLIC gets nothing; the gateway may ask and fetch; a worker gets the queue. Readers and operators
-- are granted by pgsbert.grant_usage.

revoke all on all functions in schema pgsbert from public;
revoke all on all procedures in schema pgsbert from public;

grant usage on schema pgsbert to pgsbert_gateway, pgsbert_worker;

grant execute on function
    pgsbert.put(text, text, text, text[], interval),
    pgsbert.await(uuid, interval)
to pgsbert_gateway;

grant select on pgsbert.model, pgsbert.vectorizer, pgsbert.migration to pgsbert_worker;
grant update (broken_reason, filled_at, index_error, swept_at, partitions, attached) on pgsbert.vectorizer to pgsbert_worker;
grant select, insert, update, delete on pgsbert.worker to pgsbert_worker;
-- for the probe of its container: pgsbert health
grant select on pgsbert.workers, pgsbert.status to pgsbert_worker;
grant select, update, delete on pgsbert.request to pgsbert_worker;
grant usage, select on sequence pgsbert.revision to pgsbert_worker;
grant execute on function
    pgsbert.key_index(oid),
    pgsbert.key_columns(oid),
    pgsbert.key_order(oid),
    pgsbert.opclass_operator(oid, integer),
    pgsbert.default_opclass(oid),
    pgsbert.column_type(oid, smallint),
    pgsbert.image_column(oid, smallint[]),
    pgsbert.readable_image(bytea),
    pgsbert.most_image_bytes(),
    pgsbert.vector_type(),
    pgsbert.vector_schema(),
    pgsbert.missing_column(pgsbert.vectorizer),
    pgsbert.broken_by(pgsbert.vectorizer),
    pgsbert.document_expression(pgsbert.vectorizer, text),
    pgsbert.target_name(pgsbert.vectorizer),
    pgsbert.leaf_partitions(oid),
    pgsbert.has_index(pgsbert.vectorizer),
    pgsbert.needs_worker(),
    pgsbert.schema_version(),
    pgsbert.names_of(pgsbert.vectorizer),
    pgsbert.check_names(integer, text),
    pgsbert.judge_vectorizers(),
    pgsbert.queue_state(),
    pgsbert.truncated_counts()
to pgsbert_worker;

select pgsbert.grant_usage_again();
