--
-- PostgreSQL database dump
--

\restrict 4fnxUz0Sxgn3i829J2jGIOC3mD6607sMcdiNNJW5O7OJfrrDUa1aeNzZuzygSdW

-- Dumped from database version 18.6
-- Dumped by pg_dump version 18.6

SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET transaction_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

--
-- Name: pgsbert; Type: SCHEMA; Schema: -; Owner: postgres
--

CREATE SCHEMA pgsbert;


ALTER SCHEMA pgsbert OWNER TO postgres;

--
-- Name: SCHEMA pgsbert; Type: COMMENT; Schema: -; Owner: postgres
--

COMMENT ON SCHEMA pgsbert IS 'SBERT embeddings kept true, and semantic search: https://www.sbert.net, https://github.com/pgvector/pgvector';


--
-- Name: dblink; Type: EXTENSION; Schema: -; Owner: -
--

CREATE EXTENSION IF NOT EXISTS dblink WITH SCHEMA public;


--
-- Name: EXTENSION dblink; Type: COMMENT; Schema: -; Owner: 
--

COMMENT ON EXTENSION dblink IS 'connect to other PostgreSQL databases from within a database';


--
-- Name: vector; Type: EXTENSION; Schema: -; Owner: -
--

CREATE EXTENSION IF NOT EXISTS vector WITH SCHEMA public;


--
-- Name: EXTENSION vector; Type: COMMENT; Schema: -; Owner: 
--

COMMENT ON EXTENSION vector IS 'vector data type and ivfflat and hnsw access methods';


--
-- Name: always_fire(regclass, text); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.always_fire(source regclass, prefix text) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
    name name;
begin
    -- the apply process of a subscription fires no others
    for name in select t.tgname from pg_trigger as t where t.tgrelid = source and starts_with(t.tgname::text, prefix || '_') loop
        execute format('alter table %s enable always trigger %I', source, name);
    end loop;
end;
$$;


ALTER FUNCTION pgsbert.always_fire(source regclass, prefix text) OWNER TO postgres;

--
-- Name: FUNCTION always_fire(source regclass, prefix text); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.always_fire(source regclass, prefix text) IS 'Lets the triggers of a vectorizer fire for what a subscription applies too';


--
-- Name: announce(); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.announce() RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
    if coalesce(nullif(current_setting('pgsbert.notify', true), ''), 'auto') <> 'off' then
        perform pg_notify('pgsbert_catalog', '');
        perform pg_notify('pgsbert', '');
    end if;
end;
$$;


ALTER FUNCTION pgsbert.announce() OWNER TO postgres;

--
-- Name: FUNCTION announce(); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.announce() IS 'Tells workers that vectorizers were made, changed or dropped';


--
-- Name: ask(text, text, text, text[]); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.ask(kind text, model text, query text, texts text[], OUT vectors text, OUT scores text) RETURNS record
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
    if pgsbert.keeps_connection() then
        select * into vectors, scores from pgsbert.ask_kept(kind, model, query, texts);
    elsif current_setting('server_version_num')::int >= 170000 then
        select * into vectors, scores from pgsbert.ask_once(kind, model, query, texts);
    else
        -- no subtransaction can begin in a parallel plan: a question that fails leaves the connection
        select * into vectors, scores from pgsbert.ask_kept(kind, model, query, texts);
        perform "public".dblink_disconnect('pgsbert');
    end if;
end;
$$;


ALTER FUNCTION pgsbert.ask(kind text, model text, query text, texts text[], OUT vectors text, OUT scores text) OWNER TO postgres;

--
-- Name: FUNCTION ask(kind text, model text, query text, texts text[], OUT vectors text, OUT scores text); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.ask(kind text, model text, query text, texts text[], OUT vectors text, OUT scores text) IS 'A question to a model, over a connection that is kept or not';


--
-- Name: ask_kept(text, text, text, text[]); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.ask_kept(kind text, model text, query text, texts text[], OUT vectors text, OUT scores text) RETURNS record
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
    patience interval := coalesce(nullif(current_setting('pgsbert.timeout', true), ''), '10s')::interval;
    deadline timestamptz := clock_timestamp() + patience;
    ticket uuid;
    reply record;
    answered boolean;
begin
    perform pgsbert.connect_gateway();
    select r.ticket into ticket
    from "public".dblink(
        'pgsbert', format('select pgsbert.put(%L, %L, %L, %L, %L)', kind, model, query, texts, patience)
    ) as r (ticket uuid);
    loop
        -- short slices: a wait inside dblink cannot be cancelled, the loop between two of them can
        select r.* into reply
        from "public".dblink(
            'pgsbert', format('select * from pgsbert.await(%L, ''20 ms'')', ticket)
        ) as r (vectors text, scores text, error_code text, error text);
        answered := found;
        exit when answered or clock_timestamp() >= deadline;
    end loop;
    if not answered then
        raise exception using errcode = 'PB002',
            message = format('no reply from a worker within %s', patience),
            hint = 'It may be loading the model or be busy: select * from pgsbert.workers. Set pgsbert.timeout to wait longer.';
    elsif reply.error_code is not null then
        raise exception using errcode = reply.error_code, message = reply.error;
    end if;
    vectors := reply.vectors;
    scores := reply.scores;
end;
$$;


ALTER FUNCTION pgsbert.ask_kept(kind text, model text, query text, texts text[], OUT vectors text, OUT scores text) OWNER TO postgres;

--
-- Name: FUNCTION ask_kept(kind text, model text, query text, texts text[], OUT vectors text, OUT scores text); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.ask_kept(kind text, model text, query text, texts text[], OUT vectors text, OUT scores text) IS 'Puts a question over the loopback connection and waits for the reply, at most pgsbert.timeout';


--
-- Name: ask_once(text, text, text, text[]); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.ask_once(kind text, model text, query text, texts text[], OUT vectors text, OUT scores text) RETURNS record
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
    select * into vectors, scores from pgsbert.ask_kept(kind, model, query, texts);
    perform "public".dblink_disconnect('pgsbert');
exception when others or query_canceled then
    if 'pgsbert' = any ("public".dblink_get_connections()) then
        perform "public".dblink_disconnect('pgsbert');
    end if;
    raise;
end;
$$;


ALTER FUNCTION pgsbert.ask_once(kind text, model text, query text, texts text[], OUT vectors text, OUT scores text) OWNER TO postgres;

--
-- Name: FUNCTION ask_once(kind text, model text, query text, texts text[], OUT vectors text, OUT scores text); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.ask_once(kind text, model text, query text, texts text[], OUT vectors text, OUT scores text) IS 'Asks, and leaves no connection behind, whatever happens';


--
-- Name: await(uuid, interval); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.await(ticket uuid, slice interval) RETURNS TABLE(vectors text, scores text, error_code text, error text)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
    until timestamptz := clock_timestamp() + slice;
    step double precision := 0.0005;
begin
    loop
        return query
            delete from pgsbert.request as r
            where r.token = ticket and r.done
            returning r.vectors::text, r.scores::text, r.error_code, r.error;
        exit when found or clock_timestamp() >= until;
        perform pg_sleep(step);
        step := least(step * 1.3, 0.005);
    end loop;
end;
$$;


ALTER FUNCTION pgsbert.await(ticket uuid, slice interval) OWNER TO postgres;

--
-- Name: FUNCTION await(ticket uuid, slice interval); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.await(ticket uuid, slice interval) IS 'Waits a slice for a reply; no row means: ask again';


SET default_tablespace = '';

SET default_table_access_method = heap;

--
-- Name: model; Type: TABLE; Schema: pgsbert; Owner: postgres
--

CREATE TABLE pgsbert.model (
    name text NOT NULL,
    kind text NOT NULL,
    revision text,
    hash text,
    dimensions integer,
    max_tokens integer,
    similarity text,
    query_prompt text DEFAULT ''::text NOT NULL,
    document_prompt text DEFAULT ''::text NOT NULL,
    is_default boolean DEFAULT false NOT NULL,
    registered_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT model_dimensions_fit_kind CHECK (((kind = 'bi-encoder'::text) = (dimensions IS NOT NULL))),
    CONSTRAINT model_dimensions_positive CHECK (((dimensions >= 1) AND (dimensions <= 16000))),
    CONSTRAINT model_kind_known CHECK ((kind = ANY (ARRAY['bi-encoder'::text, 'cross-encoder'::text])))
);


ALTER TABLE pgsbert.model OWNER TO postgres;

--
-- Name: TABLE model; Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON TABLE pgsbert.model IS 'Registered models: what they are called and what they return, never where their files lie';


--
-- Name: bi_encoder_named(text); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.bi_encoder_named(model_name text) RETURNS pgsbert.model
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
    m pgsbert.model;
begin
    select * into m
    from pgsbert.model
    where name = model_name or (model_name is null and is_default and kind = 'bi-encoder');
    if not found then
        raise exception using errcode = 'PB003',
            message = case when model_name is null then 'no default bi-encoder is registered'
                           else format('no model is registered as "%s"', model_name) end,
            hint = format('Register it: pgsbert model add %s', coalesce(model_name, 'all-MiniLM-L6-v2'));
    elsif m.kind <> 'bi-encoder' then
        raise exception using errcode = 'PB004',
            message = format('"%s" is a %s: an embedding needs a bi-encoder', m.name, m.kind);
    end if;
    return m;
end;
$$;


ALTER FUNCTION pgsbert.bi_encoder_named(model_name text) OWNER TO postgres;

--
-- Name: FUNCTION bi_encoder_named(model_name text); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.bi_encoder_named(model_name text) IS 'The registered bi-encoder of that name, the default for null; PB003 or PB004';


--
-- Name: column_type(oid, smallint); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.column_type(source oid, number smallint) RETURNS text
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    BEGIN ATOMIC
 WITH RECURSIVE base AS (
          SELECT a.atttypid AS type,
             a.atttypmod AS typmod,
             a.attcollation AS "collation"
            FROM pg_attribute a
           WHERE ((a.attrelid = column_type.source) AND (a.attnum = column_type.number))
         UNION ALL
          SELECT t_1.typbasetype,
             t_1.typtypmod,
             b_1."collation"
            FROM (base b_1
              JOIN pg_type t_1 ON ((t_1.oid = b_1.type)))
           WHERE (t_1.typtype = 'd'::"char")
         )
  SELECT (format_type(b.type, b.typmod) || COALESCE((((' collate '::text || quote_ident((n.nspname)::text)) || '.'::text) || quote_ident((c.collname)::text)), ''::text))
    FROM (((base b
      JOIN pg_type t ON (((t.oid = b.type) AND (t.typtype <> 'd'::"char"))))
      LEFT JOIN pg_collation c ON (((c.oid = b."collation") AND (c.oid <> t.typcollation))))
      LEFT JOIN pg_namespace n ON ((n.oid = c.collnamespace)));
END;


ALTER FUNCTION pgsbert.column_type(source oid, number smallint) OWNER TO postgres;

--
-- Name: FUNCTION column_type(source oid, number smallint); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.column_type(source oid, number smallint) IS 'The type of a column as DDL: domains as their base type, collation where it is not the type''s own';


--
-- Name: default_opclass(oid); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.default_opclass(opclass oid) RETURNS oid
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    RETURN (SELECT d.oid FROM (pg_opclass c JOIN pg_opclass d ON (((d.opcmethod = c.opcmethod) AND (d.opcintype = c.opcintype) AND d.opcdefault))) WHERE (c.oid = default_opclass.opclass));


ALTER FUNCTION pgsbert.default_opclass(opclass oid) OWNER TO postgres;

--
-- Name: FUNCTION default_opclass(opclass oid); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.default_opclass(opclass oid) IS 'The operator class that the queue and ORDER BY use where a key''s index has this one';


--
-- Name: key_columns(oid); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.key_columns(index_oid oid) RETURNS TABLE(place bigint, number smallint, name name, operator text)
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    BEGIN ATOMIC
 SELECT k.place,
     k.number,
     a.attname,
     format('operator(%I.%s)'::text, n.nspname, o.oprname) AS format
    FROM ((((((pg_index i
      CROSS JOIN LATERAL UNNEST((i.indkey)::smallint[], (i.indclass)::oid[]) WITH ORDINALITY k(number, opclass, place))
      JOIN pg_attribute a ON (((a.attrelid = i.indrelid) AND (a.attnum = k.number))))
      JOIN pg_opclass c ON ((c.oid = k.opclass)))
      JOIN pg_amop m ON (((m.amopfamily = c.opcfamily) AND (m.amopstrategy = 3) AND (m.amoplefttype = c.opcintype) AND (m.amoprighttype = c.opcintype))))
      JOIN pg_operator o ON ((o.oid = m.amopopr)))
      JOIN pg_namespace n ON ((n.oid = o.oprnamespace)))
   WHERE ((i.indexrelid = key_columns.index_oid) AND (k.place <= i.indnkeyatts))
   ORDER BY k.place;
END;


ALTER FUNCTION pgsbert.key_columns(index_oid oid) OWNER TO postgres;

--
-- Name: FUNCTION key_columns(index_oid oid); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.key_columns(index_oid oid) IS 'Columns of a key with the equality operator its index uses, wherever that lives';


--
-- Name: opclass_operator(oid, integer); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.opclass_operator(opclass oid, strategy integer) RETURNS oid
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    RETURN (SELECT m.amopopr FROM (pg_opclass c JOIN pg_amop m ON (((m.amopfamily = c.opcfamily) AND (m.amopstrategy = opclass_operator.strategy) AND (m.amoplefttype = c.opcintype) AND (m.amoprighttype = c.opcintype)))) WHERE (c.oid = opclass_operator.opclass));


ALTER FUNCTION pgsbert.opclass_operator(opclass oid, strategy integer) OWNER TO postgres;

--
-- Name: FUNCTION opclass_operator(opclass oid, strategy integer); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.opclass_operator(opclass oid, strategy integer) IS 'An operator of a btree operator class: 3 is equality, 4 at least, 5 greater';


--
-- Name: vectorizer; Type: TABLE; Schema: pgsbert; Owner: postgres
--

CREATE TABLE pgsbert.vectorizer (
    id integer NOT NULL,
    name text NOT NULL,
    source regclass NOT NULL,
    column_names name[] NOT NULL,
    column_numbers smallint[] NOT NULL,
    key_names name[] NOT NULL,
    key_numbers smallint[] NOT NULL,
    model text NOT NULL,
    storage text NOT NULL,
    target name NOT NULL,
    target_number smallint,
    side regclass,
    distance text NOT NULL,
    index_method text NOT NULL,
    on_change text NOT NULL,
    paused boolean DEFAULT false NOT NULL,
    broken_reason text,
    filled_at timestamp with time zone,
    index_error text,
    stamp text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    template text,
    row_triggers boolean DEFAULT false NOT NULL,
    swept_at timestamp with time zone,
    partitions regclass[] DEFAULT '{}'::regclass[] NOT NULL,
    attached regclass[] DEFAULT '{}'::regclass[] NOT NULL,
    CONSTRAINT vectorizer_distance_known CHECK ((distance = ANY (ARRAY['cosine'::text, 'l2'::text, 'inner_product'::text]))),
    CONSTRAINT vectorizer_index_known CHECK ((index_method = ANY (ARRAY['hnsw'::text, 'none'::text]))),
    CONSTRAINT vectorizer_on_change_known CHECK ((on_change = ANY (ARRAY['keep'::text, 'clear'::text]))),
    CONSTRAINT vectorizer_storage_known CHECK ((storage = ANY (ARRAY['column'::text, 'table'::text])))
);


ALTER TABLE pgsbert.vectorizer OWNER TO postgres;

--
-- Name: TABLE vectorizer; Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON TABLE pgsbert.vectorizer IS 'What is embedded: a source table, its tracked columns, its key, and where the vector goes';


--
-- Name: COLUMN vectorizer.column_numbers; Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON COLUMN pgsbert.vectorizer.column_numbers IS 'attnums, so that a rename changes nothing; the names are those a worker saw last, for a restore';


--
-- Name: COLUMN vectorizer.filled_at; Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON COLUMN pgsbert.vectorizer.filled_at IS 'when the walk over the existing rows ended; null while it goes on';


--
-- Name: COLUMN vectorizer.stamp; Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON COLUMN pgsbert.vectorizer.stamp IS 'the database and table that the attnums belong to';


--
-- Name: COLUMN vectorizer.template; Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON COLUMN pgsbert.vectorizer.template IS 'How the text is made of the tracked columns: {1} is the first of them; null: one a line';


--
-- Name: COLUMN vectorizer.row_triggers; Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON COLUMN pgsbert.vectorizer.row_triggers IS 'Changes are found row by row: partitions, and tables that a subscription writes';


--
-- Name: COLUMN vectorizer.swept_at; Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON COLUMN pgsbert.vectorizer.swept_at IS 'when the last walk that looks for rows no trigger saw has ended';


--
-- Name: COLUMN vectorizer.partitions; Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON COLUMN pgsbert.vectorizer.partitions IS 'the partitions with rows whose vectors are known to be theirs; another one was attached since';


--
-- Name: COLUMN vectorizer.attached; Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON COLUMN pgsbert.vectorizer.attached IS 'the partitions that the sweep under way embeds anew';


--
-- Name: recognized(pgsbert.vectorizer); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.recognized(v pgsbert.vectorizer) RETURNS pgsbert.vectorizer
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
    if v.stamp <> pgsbert.stamp(v.source) then
        v.column_numbers := pgsbert.numbers_of(v.source, v.column_names);
        v.key_numbers := pgsbert.numbers_of(v.source, v.key_names);
        if v.storage = 'column' then
            v.target_number := (pgsbert.numbers_of(v.source, array[v.target]))[1];
        end if;
        -- with a name that is not there it stays a stranger, until the table has it
        if 0 <> all (v.column_numbers || v.key_numbers || coalesce(v.target_number, 1::smallint)) then
            v.stamp := pgsbert.stamp(v.source);
        end if;
    end if;
    return v;
end;
$$;


ALTER FUNCTION pgsbert.recognized(v pgsbert.vectorizer) OWNER TO postgres;

--
-- Name: FUNCTION recognized(v pgsbert.vectorizer); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.recognized(v pgsbert.vectorizer) IS 'A vectorizer with the numbers that hold in this database, also where it was restored and no worker has looked yet';


--
-- Name: key_index(oid); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.key_index(source oid) RETURNS oid
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    RETURN (SELECT i.indexrelid FROM pg_index i WHERE ((i.indrelid = key_index.source) AND i.indisunique AND (NOT i.indisexclusion) AND i.indisvalid AND i.indimmediate AND (i.indpred IS NULL) AND (i.indexprs IS NULL) AND (NOT (EXISTS (SELECT FROM (((unnest((i.indclass)::oid[]) WITH ORDINALITY k(opclass, place) JOIN pg_opclass c ON ((c.oid = k.opclass))) JOIN pg_amop m ON (((m.amopfamily = c.opcfamily) AND (m.amopstrategy = 3) AND (m.amoplefttype = c.opcintype) AND (m.amoprighttype = c.opcintype)))) JOIN pg_operator o ON ((o.oid = m.amopopr))) WHERE ((k.place <= i.indnkeyatts) AND CASE WHEN ((NOT o.oprcanmerge) AND (NOT o.oprcanhash)) THEN true WHEN (NOT c.opcdefault) THEN (o.oid IS DISTINCT FROM pgsbert.opclass_operator(pgsbert.default_opclass(c.oid), 3)) ELSE NULL::boolean END)))) AND (NOT (EXISTS (SELECT FROM (unnest((i.indkey)::smallint[]) WITH ORDINALITY k(number, place) JOIN pg_attribute a ON (((a.attrelid = key_index.source) AND (a.attnum = k.number)))) WHERE ((k.place <= i.indnkeyatts) AND ((NOT a.attnotnull) OR (a.attgenerated = 'v'::"char") OR ((i.indcollation[(k.place - 1)] <> a.attcollation) AND (EXISTS (SELECT FROM pg_collation c WHERE ((c.oid = a.attcollation) AND (NOT c.collisdeterministic))))))))))) ORDER BY (EXISTS (SELECT FROM pgsbert.vectorizer v WHERE (((v.source)::oid = key_index.source) AND ((pgsbert.recognized(v.*)).key_numbers = ((i.indkey)::smallint[])[:(i.indnkeyatts - 1)])))) DESC, i.indisprimary DESC, i.indnkeyatts, i.indexrelid LIMIT 1);


ALTER FUNCTION pgsbert.key_index(source oid) OWNER TO postgres;

--
-- Name: FUNCTION key_index(source oid); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.key_index(source oid) IS 'The key that a vectorizer of the table uses already, or its primary key, or else a unique index over NOT NULL columns that is neither deferrable nor partial';


--
-- Name: missing_column(pgsbert.vectorizer); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.missing_column(v pgsbert.vectorizer) RETURNS name
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    RETURN (SELECT needed.name FROM UNNEST((((missing_column.v).column_numbers || (missing_column.v).key_numbers) || (missing_column.v).target_number), (((missing_column.v).column_names || (missing_column.v).key_names) || (missing_column.v).target)) needed(number, name) WHERE ((needed.number IS NOT NULL) AND (NOT (EXISTS (SELECT FROM pg_attribute a WHERE ((a.attrelid = ((missing_column.v).source)::oid) AND (a.attnum = needed.number) AND (NOT a.attisdropped)))))) LIMIT 1);


ALTER FUNCTION pgsbert.missing_column(v pgsbert.vectorizer) OWNER TO postgres;

--
-- Name: FUNCTION missing_column(v pgsbert.vectorizer); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.missing_column(v pgsbert.vectorizer) IS 'A key, tracked or vector column that was dropped, or null';


--
-- Name: stamp(oid); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.stamp(source oid) RETURNS text
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    RETURN (SELECT format('%s/%s/%s'::text, s.system_identifier, d.oid, stamp.source) AS format FROM (pg_control_system() s(pg_control_version, catalog_version_no, system_identifier, pg_control_last_modified) CROSS JOIN pg_database d) WHERE (d.datname = current_database()));


ALTER FUNCTION pgsbert.stamp(source oid) OWNER TO postgres;

--
-- Name: FUNCTION stamp(source oid); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.stamp(source oid) IS 'Which cluster, database and table the column numbers of a vectorizer belong to';


--
-- Name: broken_by(pgsbert.vectorizer); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.broken_by(v pgsbert.vectorizer) RETURNS text
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    RETURN (SELECT CASE WHEN (NOT (EXISTS (SELECT FROM pg_class c WHERE (c.oid = ((broken_by.v).source)::oid)))) THEN format('the table of "%s" was dropped'::text, (broken_by.v).name) WHEN (gone.gone IS NOT NULL) THEN format('column "%s" of %s was dropped'::text, gone.gone, (broken_by.v).source) WHEN ((broken_by.v).stamp <> pgsbert.stamp(((broken_by.v).source)::oid)) THEN format('%s was restored from another database, and no worker has looked at it since'::text, (broken_by.v).source) WHEN (((broken_by.v).side IS NOT NULL) AND (NOT (EXISTS (SELECT FROM pg_class c WHERE (c.oid = ((broken_by.v).side)::oid))))) THEN format('the table with the vectors of %s was dropped'::text, (broken_by.v).source) WHEN (((broken_by.v).side IS NOT NULL) AND ((SELECT count(*) AS count FROM pg_attribute a WHERE ((a.attrelid = ((broken_by.v).side)::oid) AND ((a.attnum >= 1) AND (a.attnum <= (cardinality((broken_by.v).key_numbers) + 1))) AND (NOT a.attisdropped))) <= cardinality((broken_by.v).key_numbers))) THEN format('a column of %s was dropped'::text, (broken_by.v).side) WHEN (ARRAY(SELECT k.number FROM pgsbert.key_columns(pgsbert.key_index(((broken_by.v).source)::oid)) k(place, number, name, operator)) <> (broken_by.v).key_numbers) THEN format('%s has no unique key over NOT NULL columns (%s) any more'::text, (broken_by.v).source, array_to_string((broken_by.v).key_names, ', '::text)) ELSE (SELECT format('key column "%s" of %s is %s now and was %s: drop the vectorizer and create it again'::text, k.name, (broken_by.v).source, k.now, k.queued) AS format FROM (SELECT u.name, pgsbert.column_type(((broken_by.v).source)::oid, u.number) AS now, pgsbert.column_type((to_regclass(('pgsbert.pending_'::text || (broken_by.v).id)))::oid, (u.place)::smallint) AS queued FROM UNNEST((broken_by.v).key_names, (broken_by.v).key_numbers) WITH ORDINALITY u(name, number, place)) k WHERE (k.now <> k.queued) LIMIT 1) END AS format FROM pgsbert.missing_column(broken_by.v) gone(gone));


ALTER FUNCTION pgsbert.broken_by(v pgsbert.vectorizer) OWNER TO postgres;

--
-- Name: FUNCTION broken_by(v pgsbert.vectorizer); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.broken_by(v pgsbert.vectorizer) IS 'Why rows of a vectorizer cannot be embedded any more, or null';


--
-- Name: build_vectorizer(integer, text); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.build_vectorizer(vectorizer_id integer, triggers text) RETURNS pgsbert.vectorizer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
    v pgsbert.vectorizer;
    source regclass := (select w.source from pgsbert.vectorizer as w where w.id = vectorizer_id);
begin
    perform pgsbert.check_owner(source);
    update pgsbert.vectorizer as w
    set target_number = (
            select a.attnum from pg_attribute as a
            where w.storage = 'column' and a.attrelid = w.source and a.attname = w.target and not a.attisdropped
        ),
        row_triggers = pgsbert.wants_row_triggers(w.source, triggers),
        partitions = pgsbert.leaf_partitions(w.source)
    where w.id = vectorizer_id
    returning w.* into v;
    perform pgsbert.create_trigger_functions(v);
    return v;
end;
$$;


ALTER FUNCTION pgsbert.build_vectorizer(vectorizer_id integer, triggers text) OWNER TO postgres;

--
-- Name: FUNCTION build_vectorizer(vectorizer_id integer, triggers text); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.build_vectorizer(vectorizer_id integer, triggers text) IS 'Second step of create_vectorizer: trigger functions for the table with its vector column';


--
-- Name: caller(); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.caller() RETURNS oid
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    RETURN (SELECT r.oid FROM pg_roles r WHERE (r.rolname = COALESCE(NULLIF(current_setting('role'::text), 'none'::text), (SESSION_USER)::text)));


ALTER FUNCTION pgsbert.caller() OWNER TO postgres;

--
-- Name: FUNCTION caller(); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.caller() IS 'The role that asks, seen from inside a SECURITY DEFINER function';


--
-- Name: check_columns(regclass, text[]); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.check_columns(source regclass, columns text[]) RETURNS smallint[]
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
    wanted text;
    found_column pg_attribute;
    numbers smallint[] := '{}';
begin
    if coalesce(cardinality(columns), 0) = 0 then
        raise exception using errcode = 'PB007',
            message = 'no columns to embed were given',
            hint = format(
                'Name them: pgsbert.create_vectorizer(%L, columns => ''{title,body}''), or say how the text is made of them: template => ''{title}: {body}''.',
                source::text
            );
    end if;
    foreach wanted in array columns loop
        select * into found_column
        from pg_attribute as a
        where a.attrelid = source and a.attname = wanted and a.attnum > 0 and not a.attisdropped;
        if not found then
            raise exception using errcode = 'PB007',
                message = format('table %s has no column "%s"', source, coalesce(wanted, 'NULL')),
                hint = coalesce('It has: ' || (
                    select string_agg(a.attname, ', ' order by a.attnum)
                    from pg_attribute as a
                    where a.attrelid = source and a.attnum > 0 and not a.attisdropped
                ) || '.', 'It has none.');
        elsif found_column.attgenerated = 'v' then
            raise exception using errcode = 'PB007',
                message = format('column "%s" of %s is a virtual generated column: triggers do not see its value', wanted, source),
                hint = 'Track the columns it is made from, or make it STORED.';
        elsif found_column.attnum = any (numbers) then
            raise exception using errcode = 'PB007', message = format('column "%s" was given twice', wanted);
        end if;
        numbers := numbers || found_column.attnum;
    end loop;
    return numbers;
end;
$$;


ALTER FUNCTION pgsbert.check_columns(source regclass, columns text[]) OWNER TO postgres;

--
-- Name: FUNCTION check_columns(source regclass, columns text[]); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.check_columns(source regclass, columns text[]) IS 'The attnums of the columns to embed, or PB007';


--
-- Name: check_names(integer, text); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.check_names(vectorizer_id integer, names text) RETURNS boolean
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
    if (select pgsbert.names_of(v) from pgsbert.vectorizer as v where v.id = vectorizer_id) is distinct from names then
        raise undefined_column using
            message = format('something of vectorizer %s has another name now', vectorizer_id),
            -- tells it from what the table's own triggers lack
            schema = 'pgsbert';
    end if;
    return true;
end;
$$;


ALTER FUNCTION pgsbert.check_names(vectorizer_id integer, names text) OWNER TO postgres;

--
-- Name: FUNCTION check_names(vectorizer_id integer, names text); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.check_names(vectorizer_id integer, names text) IS 'Raises 42703 unless everything is still called what a worker believes: names may have changed places';


--
-- Name: check_option(text, text, text[]); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.check_option(option text, value text, allowed text[]) RETURNS void
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
    if value is null or value <> all (allowed) then
        raise exception using errcode = 'PB007',
            message = format('%s => %s is not known', option, coalesce(quote_literal(value), 'NULL')),
            hint = format('It is one of: %s.', array_to_string(allowed, ', '));
    end if;
end;
$$;


ALTER FUNCTION pgsbert.check_option(option text, value text, allowed text[]) OWNER TO postgres;

--
-- Name: FUNCTION check_option(option text, value text, allowed text[]); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.check_option(option text, value text, allowed text[]) IS 'Raises PB007 for a value that is not allowed';


--
-- Name: check_owner(oid); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.check_owner(source oid) RETURNS void
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
    owner oid := (select relowner from pg_class where oid = source);
begin
    if pg_has_role(pgsbert.caller(), owner, 'usage') is false then
        raise insufficient_privilege using
            message = format('must be owner of table %s', source::regclass),
            hint = format('Ask %I to do it, or to grant you that role.', pg_get_userbyid(owner));
    end if;
end;
$$;


ALTER FUNCTION pgsbert.check_owner(source oid) OWNER TO postgres;

--
-- Name: FUNCTION check_owner(source oid); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.check_owner(source oid) IS 'Raises 42501 unless the caller owns the table or is a member of its owner';


--
-- Name: check_reranker(text); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.check_reranker(model text) RETURNS void
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
    perform pgsbert.model_for('rerank', model);
end;
$$;


ALTER FUNCTION pgsbert.check_reranker(model text) OWNER TO postgres;

--
-- Name: FUNCTION check_reranker(model text); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.check_reranker(model text) IS 'Raises PB003, PB004 or PB005 unless there is such a cross-encoder';


--
-- Name: check_role(text); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.check_role(role text) RETURNS void
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
    if role is null or not exists (select from pg_roles where rolname = role) then
        raise exception using errcode = 'PB007', message = format('role "%s" does not exist', coalesce(role, 'NULL'));
    elsif role in ('pgsbert_worker', 'pgsbert_gateway') then
        raise exception using errcode = 'PB007',
            message = format('role "%s" has its rights from the installation', role),
            hint = 'Give usage to the roles that ask; a login is made a worker by: grant pgsbert_worker to it.';
    end if;
end;
$$;


ALTER FUNCTION pgsbert.check_role(role text) OWNER TO postgres;

--
-- Name: FUNCTION check_role(role text); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.check_role(role text) IS 'Raises PB007 for a role that usage cannot be given to or taken from';


--
-- Name: check_search(text, integer, boolean, integer); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.check_search(query text, k integer, rerank boolean, candidates integer) RETURNS void
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
    if query is null or query = '' then
        raise exception using errcode = 'PB007', message = 'the query is empty';
    elsif k is null or k < 1 or candidates is null or candidates < 1 then
        raise exception using errcode = 'PB007',
            message = format('k and candidates must be at least 1, not %s and %s', coalesce(k::text, 'NULL'), coalesce(candidates::text, 'NULL'));
    elsif rerank is null then
        raise exception using errcode = 'PB007', message = 'rerank must be true or false, not NULL';
    elsif rerank then
        -- before the model is asked for an embedding, and also where nothing is found
        perform pgsbert.check_reranker(null);
    end if;
end;
$$;


ALTER FUNCTION pgsbert.check_search(query text, k integer, rerank boolean, candidates integer) OWNER TO postgres;

--
-- Name: FUNCTION check_search(query text, k integer, rerank boolean, candidates integer); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.check_search(query text, k integer, rerank boolean, candidates integer) IS 'Raises PB007 for arguments that cannot find anything';


--
-- Name: check_searchable(pgsbert.vectorizer, boolean); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.check_searchable(v pgsbert.vectorizer, rerank boolean) RETURNS void
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
    reason text := case
        when v.id is null then 'its function was restored without its data'
        when not exists (select from pg_class where oid = v.source) then format('the table of "%s" was dropped', v.name)
        when v.storage = 'table' and not exists (select from pg_class where oid = v.side) then format('its table %s was dropped', v.side)
        when pgsbert.target_name(v) is null then 'the column with its vectors was dropped'
        when v.storage = 'table' and pgsbert.side_match(v, 's', 't') is null then
            format('%s has no unique key over NOT NULL columns (%s) any more', v.source, array_to_string(v.key_names, ', '))
        when rerank then
            (select format('column "%s" of %s was dropped', gone, v.source) from pgsbert.missing_column(v) as gone where gone is not null)
    end;
begin
    if reason is not null then
        raise exception using errcode = 'PB008', message = format('vectorizer "%s" is broken: %s', coalesce(v.name, 'NULL'), reason);
    end if;
end;
$$;


ALTER FUNCTION pgsbert.check_searchable(v pgsbert.vectorizer, rerank boolean) OWNER TO postgres;

--
-- Name: FUNCTION check_searchable(v pgsbert.vectorizer, rerank boolean); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.check_searchable(v pgsbert.vectorizer, rerank boolean) IS 'Raises PB008 where a table or column that a search needs was dropped';


--
-- Name: check_source(regclass); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.check_source(source regclass) RETURNS void
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
    c pg_class;
begin
    select * into c from pg_class where oid = source;
    if not found then
        raise exception using errcode = 'PB007', message = format('no table has the oid %s', source::oid);
    elsif c.relispartition then
        raise exception using errcode = 'PB007',
            message = format('%s is a partition', source),
            hint = format('Make the vectorizer on the partitioned table: pgsbert.create_vectorizer(%L, ...).', pg_partition_root(source));
    elsif c.relkind not in ('r', 'p') then
        raise exception using errcode = 'PB007',
            message = format('%s is not a table', source),
            hint = 'A vectorizer needs a table: views, foreign tables and sequences have no triggers on rows.';
    elsif c.relpersistence = 't' then
        raise exception using errcode = 'PB007',
            message = format('%s is a temporary table: the worker cannot see it', source);
    elsif c.relkind = 'r' and exists (select from pg_inherits where inhrelid = source or inhparent = source) then
        raise exception using errcode = 'PB007',
            message = format('%s takes part in table inheritance: its triggers would miss rows', source);
    end if;
end;
$$;


ALTER FUNCTION pgsbert.check_source(source regclass) OWNER TO postgres;

--
-- Name: FUNCTION check_source(source regclass); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.check_source(source regclass) IS 'Raises PB007 for a relation whose changes triggers cannot follow';


--
-- Name: check_target(regclass, text, pgsbert.model); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.check_target(source regclass, target text, model pgsbert.model) RETURNS smallint
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
    a pg_attribute;
begin
    select * into a from pg_attribute where attrelid = source and attname = target and not attisdropped;
    if not found then
        return null;
    elsif a.atttypid <> pgsbert.vector_type() or a.atttypmod not in (-1, model.dimensions) then
        raise exception using errcode = 'PB007',
            message = format('column "%s" of %s is %s, and "%s" makes vector(%s)', target, source,
                             format_type(a.atttypid, a.atttypmod), model.name, model.dimensions),
            hint = 'Give another column with target =>, or another model with model =>.';
    elsif a.attgenerated <> '' then
        raise exception using errcode = 'PB007',
            message = format('column "%s" of %s is generated: nobody can write it', target, source);
    end if;
    return a.attnum;
end;
$$;


ALTER FUNCTION pgsbert.check_target(source regclass, target text, model pgsbert.model) OWNER TO postgres;

--
-- Name: FUNCTION check_target(source regclass, target text, model pgsbert.model); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.check_target(source regclass, target text, model pgsbert.model) IS 'The attnum of an existing vector column that fits the model, null if there is none; PB007 if it does not fit';


--
-- Name: check_text(text); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.check_text(content text) RETURNS void
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
    if content = '' then
        raise exception using errcode = 'PB007',
            message = 'an empty text has no embedding',
            hint = 'Rows whose text is empty have none either; NULL gives NULL.';
    end if;
end;
$$;


ALTER FUNCTION pgsbert.check_text(content text) OWNER TO postgres;

--
-- Name: FUNCTION check_text(content text); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.check_text(content text) IS 'Raises PB007 for the empty text';


--
-- Name: clear_1(); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.clear_1() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
    target name;
begin
    -- by number where it is the one of this database, else by name: what runs here may read nothing but the catalog
    if format('%s/%s/%s', (select system_identifier from pg_control_system()),
              (select oid from pg_database where datname = current_database()), 17125) = '7711450103339767811/16384/17125' then
        select attname into target from pg_attribute where attrelid = 17125 and attnum = 5 and not attisdropped;
    else
        select attname into target from pg_attribute where attrelid = tg_relid and attname = 'embedding' and not attisdropped;
    end if;
    if target is null then
        return new;
    end if;
    return jsonb_populate_record(new, jsonb_build_object(target, null));
end;
$$;


ALTER FUNCTION pgsbert.clear_1() OWNER TO postgres;

--
-- Name: FUNCTION clear_1(); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.clear_1() IS 'A trigger function of vectorizer article';


--
-- Name: clear_2(); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.clear_2() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
    target name;
begin
    -- by number where it is the one of this database, else by name: what runs here may read nothing but the catalog
    if format('%s/%s/%s', (select system_identifier from pg_control_system()),
              (select oid from pg_database where datname = current_database()), 17180) = '7711450103339767811/16384/17180' then
        select attname into target from pg_attribute where attrelid = 17180 and attnum = 0 and not attisdropped;
    else
        select attname into target from pg_attribute where attrelid = tg_relid and attname = 'embedding' and not attisdropped;
    end if;
    if target is null then
        return new;
    end if;
    return jsonb_populate_record(new, jsonb_build_object(target, null));
end;
$$;


ALTER FUNCTION pgsbert.clear_2() OWNER TO postgres;

--
-- Name: FUNCTION clear_2(); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.clear_2() IS 'A trigger function of vectorizer page';


--
-- Name: clear_3(); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.clear_3() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
    target name;
begin
    -- by number where it is the one of this database, else by name: what runs here may read nothing but the catalog
    if format('%s/%s/%s', (select system_identifier from pg_control_system()),
              (select oid from pg_database where datname = current_database()), 17254) = '7711450103339767811/16384/17254' then
        select attname into target from pg_attribute where attrelid = 17254 and attnum = 3 and not attisdropped;
    else
        select attname into target from pg_attribute where attrelid = tg_relid and attname = 'embedding' and not attisdropped;
    end if;
    if target is null then
        return new;
    end if;
    return jsonb_populate_record(new, jsonb_build_object(target, null));
end;
$$;


ALTER FUNCTION pgsbert.clear_3() OWNER TO postgres;

--
-- Name: FUNCTION clear_3(); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.clear_3() IS 'A trigger function of vectorizer quiet';


--
-- Name: clear_body(pgsbert.vectorizer); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.clear_body(v pgsbert.vectorizer) RETURNS text
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
begin
    return format($body$
declare
    target name;
begin
    -- by number where it is the one of this database, else by name: what runs here may read nothing but the catalog
    if format('%%s/%%s/%%s', (select system_identifier from pg_control_system()),
              (select oid from pg_database where datname = current_database()), %1$s) = %2$L then
        select attname into target from pg_attribute where attrelid = %1$s and attnum = %3$s and not attisdropped;
    else
        select attname into target from pg_attribute where attrelid = tg_relid and attname = %4$L and not attisdropped;
    end if;
    if target is null then
        return new;
    end if;
    return jsonb_populate_record(new, jsonb_build_object(target, null));
end;
$body$, v.source::oid, pgsbert.stamp(v.source), coalesce(v.target_number, 0), pgsbert.target_name(v));
end;
$_$;


ALTER FUNCTION pgsbert.clear_body(v pgsbert.vectorizer) OWNER TO postgres;

--
-- Name: FUNCTION clear_body(v pgsbert.vectorizer); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.clear_body(v pgsbert.vectorizer) IS 'What clears the vector of one row before it is written, on the table or any of its partitions';


--
-- Name: connect_gateway(); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.connect_gateway() RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET client_min_messages TO 'error'
    AS $$
begin
    -- No EXCEPTION block here: before PostgreSQL 17 a subtransaction cannot begin in a parallel plan. dblink_exec
    -- reports a dead connection without raising; dblink() would raise. What another role of this session has set on
    -- the connection is undone by the way; a transaction that it left aborted is an error as well. With
    -- keep_connection = off nothing is trusted that is already there.
    if 'pgsbert' = any ("public".dblink_get_connections()) then
        if pgsbert.keeps_connection() and "public".dblink_exec('pgsbert', 'reset all', false) = 'RESET' then
            return;
        end if;
        perform "public".dblink_disconnect('pgsbert');
    end if;
    if pg_is_in_recovery() and not exists (select from pg_foreign_server where srvname = 'pgsbert_loopback') then
        -- by its own socket a standby reaches itself, where nothing can be asked
        raise exception using errcode = 'PB001',
            message = 'this server is a standby: its questions go to the primary, and nothing says where that is',
            hint = 'On the primary, run pgsbert gateway set-password --host with the host of the primary.';
    elsif current_setting('server_version_num')::int >= 170000 then
        perform pgsbert.open_gateway();
    else
        perform "public".dblink_connect('pgsbert', pgsbert.gateway_address());
    end if;
end;
$$;


ALTER FUNCTION pgsbert.connect_gateway() OWNER TO postgres;

--
-- Name: FUNCTION connect_gateway(); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.connect_gateway() IS 'Opens the loopback connection of this session, again if it was lost';


--
-- Name: conninfo_quoted(text); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.conninfo_quoted(value text) RETURNS text
    LANGUAGE sql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    RETURN ((''''::text || replace(replace(value, '\'::text, '\\'::text), ''''::text, '\'''::text)) || ''''::text);


ALTER FUNCTION pgsbert.conninfo_quoted(value text) OWNER TO postgres;

--
-- Name: FUNCTION conninfo_quoted(value text); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.conninfo_quoted(value text) IS 'A value of a libpq connection string';


--
-- Name: create_queue(pgsbert.vectorizer); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.create_queue(v pgsbert.vectorizer) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
declare
    key_definition text := (
        select string_agg(format('k%s %s not null', i, pgsbert.column_type(v.source, number)), ', ' order by i)
        from unnest(v.key_numbers) with ordinality as k(number, i)
    );
    keys text := (select string_agg('k' || i, ', ') from generate_series(1, cardinality(v.key_numbers)) as i);
begin
    -- Users write this one; workers only lock and delete. A worker's update would make users' REPEATABLE READ fail.
    execute format(
        'create table pgsbert.pending_%1$s ('
        '%2$s, revision bigint not null, queued_at timestamptz not null default now(), '
        'constraint pending_%1$s_pkey primary key (%3$s))',
        v.id, key_definition, keys
    );
    execute format('comment on table pgsbert.pending_%s is %L', v.id, 'Rows of ' || v.source::text || ' to embed');
    -- Workers only.
    execute format(
        'create table pgsbert.lease_%1$s ('
        '%2$s, revision bigint not null, worker integer, attempts integer not null default 1, '
        'deferred integer not null default 0, claimed_until timestamptz not null, '
        'error_class text, error text, failed_at timestamptz, '
        'constraint lease_%1$s_pkey primary key (%3$s))',
        v.id, key_definition, keys
    );
    execute format('create unique index lease_%1$s_revision on pgsbert.lease_%1$s (revision)', v.id);
    execute format('create index lease_%1$s_claimed_until on pgsbert.lease_%1$s (claimed_until) where failed_at is null', v.id);
    execute format('comment on table pgsbert.lease_%s is %L', v.id, 'Rows of ' || v.source::text || ' that a worker holds, waits to try again, or gave up');
    -- How far the walk over the existing rows has come: no row before the first range, then one, with their number.
    execute format('create table pgsbert.fill_%s (%s, passed bigint not null default 0)', v.id, key_definition);
    execute format('comment on table pgsbert.fill_%s is %L', v.id, 'The last key of ' || v.source::text || ' that the first fill has queued');
    execute format('grant select, update, delete on pgsbert.pending_%1$s, pgsbert.lease_%1$s, pgsbert.fill_%1$s to pgsbert_worker', v.id);
    execute format('grant insert on pgsbert.pending_%1$s, pgsbert.lease_%1$s, pgsbert.fill_%1$s to pgsbert_worker', v.id);
end;
$_$;


ALTER FUNCTION pgsbert.create_queue(v pgsbert.vectorizer) OWNER TO postgres;

--
-- Name: FUNCTION create_queue(v pgsbert.vectorizer); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.create_queue(v pgsbert.vectorizer) IS 'Makes pending_, lease_ and fill_ of a vectorizer, with the key in its own types';


--
-- Name: create_row_trigger_functions(pgsbert.vectorizer); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.create_row_trigger_functions(v pgsbert.vectorizer) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
declare
    key_is_named text := pgsbert.row_key_sql(v);
    unmoved text := pgsbert.row_unmoved_sql(v);
    -- where that does not hold: a trigger of this table, or one that its owner made on another
    if_foreign text := case when v.side is null then format(
        'if not exists (select from pgsbert.vectorizer where id = %s and source in (tg_relid, pg_partition_root(tg_relid))) then return null; end if;', v.id
    ) else '' end;
    -- a worker that is awake costs neither a call nor a query; one call wakes for the whole transaction
    wake text := $make$
    if current_setting('pgsbert.woken', true) is distinct from '1' and pg_try_advisory_lock_shared(1885827938, 1) then
        perform pg_advisory_unlock_shared(1885827938, 1);
        perform pgsbert.wake();
        perform set_config('pgsbert.woken', '1', true);
    end if;$make$;
    probe text := 'set enable_seqscan = off';
begin
    perform pgsbert.make_trigger_function(v, format('enqueue_%s_insert', v.id), '', format($body$
declare
    statement text;
begin
    if %2$s then
        %3$s;
    else
        %5$s
        statement := pgsbert.enqueue_anew(%1$s, 'row insert');
        if statement is null then
            return null;
        end if;
        execute statement using new;
    end if;
    %4$s
    return null;
end;
$body$, v.id, key_is_named, pgsbert.enqueue_row_sql(v, 'row insert', 'new'), wake, if_foreign));
    -- The kept plan must probe the queue by key, be it empty or huge.
    if v.side is null then
        perform pgsbert.make_trigger_function(v, format('enqueue_%s_delete', v.id), probe, format($body$
declare
    statement text;
begin
    if %2$s then
        %3$s;
    else
        %4$s
        statement := pgsbert.enqueue_anew(%1$s, 'row delete');
        if statement is not null then
            execute statement using old;
        end if;
    end if;
    return null;
end;
$body$, v.id, unmoved, pgsbert.enqueue_row_sql(v, 'row delete', 'old'), if_foreign));
        -- reached only when WHEN found something to clear
        perform pgsbert.make_trigger_function(v, format('clear_%s', v.id), '', pgsbert.clear_body(v));
    else
        perform pgsbert.make_trigger_function(v, format('enqueue_%s_delete', v.id), probe, format($body$
declare
    statement text;
    key text[];
begin
    if not (%2$s) then
        statement := pgsbert.enqueue_anew(%1$s, 'row key');
        if statement is not null then
            execute statement into key using old;
            perform pgsbert.leave_to_worker(%1$s, key);
        end if;
    elsif current_setting('transaction_isolation') like 'read%%' then
        %3$s;
        %4$s;
        return null;
    else
        -- A settle after this transaction's snapshot is invisible to it, or raises: then the worker, for which the row
        -- is gone as well, removes what was stored.
        begin
            %3$s;
            %4$s;
            %5$s;
        exception when serialization_failure then
            %6$s into key;
            perform pgsbert.leave_to_worker(%1$s, key);
        end;
    end if;
    %7$s
    return null;
end;
$body$, v.id, unmoved, pgsbert.enqueue_row_sql(v, 'row delete', 'old'), pgsbert.enqueue_row_sql(v, 'row unside', 'old'),
            pgsbert.enqueue_row_sql(v, 'row requeue', 'old'), pgsbert.enqueue_row_sql(v, 'row key', 'old'), wake));
        perform pgsbert.make_trigger_function(v, format('clear_%s', v.id), probe, format($body$
declare
    statement text;
begin
    if not (%2$s) then
        statement := pgsbert.enqueue_anew(%1$s, 'row unside');
        if statement is not null then
            begin
                execute statement using new;
            exception when serialization_failure then
                null;
            end;
        end if;
    elsif current_setting('transaction_isolation') like 'read%%' then
        %3$s;
    else
        begin
            %3$s;
        exception when serialization_failure then
            -- settled after this transaction's snapshot; it is queued, so the worker clears it
            null;
        end;
    end if;
    return null;
end;
$body$, v.id, unmoved, pgsbert.enqueue_row_sql(v, 'row unside', 'new')));
    end if;
    -- Of the whole table: TRUNCATE of one partition fires nothing here, and the worker finds the rows gone.
    perform pgsbert.make_trigger_function(v, format('enqueue_%s_truncate', v.id), '', format($body$
declare
    statement text := pgsbert.enqueue_anew(%s, 'truncate');
begin
    if statement is not null then
        execute statement;
    end if;
    return null;
end;
$body$, v.id));
    perform pgsbert.grant_to_owner(v);
end;
$_$;


ALTER FUNCTION pgsbert.create_row_trigger_functions(v pgsbert.vectorizer) OWNER TO postgres;

--
-- Name: FUNCTION create_row_trigger_functions(v pgsbert.vectorizer); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.create_row_trigger_functions(v pgsbert.vectorizer) IS 'Makes the functions of a vectorizer''s row triggers for its source as it is now';


--
-- Name: create_row_triggers(pgsbert.vectorizer, text); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.create_row_triggers(v pgsbert.vectorizer, prefix text) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
declare
    has_text text := (
        select string_agg(format('new.%I::text collate "C" <> ''''', name), ' or ')
        from unnest(v.column_names) as name
    );
    changed text := (
        -- bytes decide: a collation may call different texts equal; NULL and '' are the same text to us
        select string_agg(format('coalesce(new.%1$I::text collate "C", '''') <> coalesce(old.%1$I::text collate "C", '''')', name), ' or ')
        from unnest(v.column_names) as name
    );
    same_key text := (
        select string_agg(format('old.%1$I %2$s new.%1$I', k.name, k.operator), ' and ' order by k.place)
        from pgsbert.key_columns(pgsbert.key_index(v.source)) as k
    );
    -- NOT NULL may be dropped from a unique column: such a row cannot be named, and its writer must not fail
    has_key text := (
        select string_agg(format('new.%I is distinct from null', k.name), ' and ' order by k.place)
        from pgsbert.key_columns(pgsbert.key_index(v.source)) as k
    );
    -- a vector that came with a row without text must go; the worker takes it
    is_wanted text := has_text || case when v.storage = 'column' then format(' or new.%I is not null', v.target) else '' end;
    statement constant text := 'create trigger %I after %s on %s for each row when (%s) execute function pgsbert.%I()';
begin
    execute format(
        statement, prefix || '_insert', 'insert', v.source, format('(%s) and (%s)', has_key, is_wanted), format('enqueue_%s_insert', v.id)
    );
    -- in this order for each row, which is that of the names: the old key goes, then the new one comes
    execute format(statement, prefix || '_rekey', 'update', v.source, format('(%s) is not true', same_key), format('enqueue_%s_delete', v.id));
    -- a row that took another's key may have its text and yet no vector
    execute format(
        statement, prefix || '_update', 'update', v.source,
        format('(%s) and ((%s) is not true and (%s) or %s)', has_key, same_key, is_wanted, changed), format('enqueue_%s_insert', v.id)
    );
    execute format(statement, prefix || '_delete', 'delete', v.source, 'true', format('enqueue_%s_delete', v.id));
    if v.side is not null then
        execute format(
            statement, prefix || '_vanish', 'update', v.source,
            format('(%s)', changed) || case when v.on_change = 'keep' then format(' and (%s) is not true', has_text) else '' end,
            format('clear_%s', v.id)
        );
    end if;
end;
$_$;


ALTER FUNCTION pgsbert.create_row_triggers(v pgsbert.vectorizer, prefix text) OWNER TO postgres;

--
-- Name: FUNCTION create_row_triggers(v pgsbert.vectorizer, prefix text); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.create_row_triggers(v pgsbert.vectorizer, prefix text) IS 'Makes the row triggers of a vectorizer on its source, with the caller''s rights';


--
-- Name: create_search(pgsbert.vectorizer); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.create_search(v pgsbert.vectorizer) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
    source_schema name;
    owner name;
    function_name text := v.name || '_search';
    view_name text := v.name || '_neighbors';
    arguments text := '(text, integer, boolean, integer)';
begin
    select n.nspname, pg_get_userbyid(c.relowner) into source_schema, owner
    from pg_class as c join pg_namespace as n on n.oid = c.relnamespace
    where c.oid = v.source;
    if octet_length(view_name) > 63 then
        raise exception using errcode = 'PB007',
            message = format('name => "%s" is too long for %s', v.name, view_name),
            hint = 'Pass a name of at most 53 bytes.';
    elsif exists (
        -- with other arguments too: calls of theirs could become ambiguous
        select from pg_proc as p join pg_namespace as n on n.oid = p.pronamespace
        where n.nspname = source_schema and p.proname = function_name
    ) then
        raise exception using errcode = 'PB007',
            message = format('function %I.%I exists and is not this vectorizer''s', source_schema, function_name),
            hint = 'Pass name => for another prefix.';
    elsif to_regclass(format('%I.%I', source_schema, view_name)) is not null then
        raise exception using errcode = 'PB007',
            message = format('relation %I.%I exists and is not this vectorizer''s', source_schema, view_name),
            hint = 'Pass name => for another prefix.';
    end if;
    -- the body as a literal: there may be a name in it that ends any dollar quote
    execute format(
        'create function %I.%I(query text, k integer default 10, rerank boolean default false, candidates integer default 50) '
        'returns table (item %s, distance double precision, score double precision) '
        'language plpgsql stable parallel unsafe as %L',
        source_schema, function_name, v.source, pgsbert.search_body(v)
    );
    execute format(
        'comment on function %I.%I%s is %L', source_schema, function_name, arguments,
        'The rows nearest in meaning to a query. ' || pgsbert.made_for(v)
    );
    execute format(
        'create view %I.%I with (security_invoker = true) as %s', source_schema, view_name, pgsbert.neighbors_sql(v)
    );
    -- it runs with the rights of who asks, so that those on the table decide
    execute format('grant select on %I.%I to public', source_schema, view_name);
    execute format(
        'comment on view %I.%I is %L', source_schema, view_name,
        'The ten nearest of each row; filter it by key. ' || pgsbert.made_for(v)
    );
    if owner <> current_user then
        execute format('alter function %I.%I%s owner to %I', source_schema, function_name, arguments, owner);
        execute format('alter view %I.%I owner to %I', source_schema, view_name, owner);
    end if;
end;
$$;


ALTER FUNCTION pgsbert.create_search(v pgsbert.vectorizer) OWNER TO postgres;

--
-- Name: FUNCTION create_search(v pgsbert.vectorizer); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.create_search(v pgsbert.vectorizer) IS 'Makes <name>_search and <name>_neighbors beside the source table; never replaces what is not ours';


--
-- Name: create_side(pgsbert.vectorizer); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.create_side(v pgsbert.vectorizer) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
    source_schema name;
    source_name name;
    owner name;
    forced boolean;
    side text;
    side_name text;
    reader record;
    keys name[] := array(select k.name from pgsbert.key_columns(pgsbert.key_index(v.source)) as k order by k.place);
begin
    select n.nspname, c.relname, pg_get_userbyid(c.relowner), c.relforcerowsecurity into source_schema, source_name, owner, forced
    from pg_class as c join pg_namespace as n on n.oid = c.relnamespace
    where c.oid = v.source;
    side_name := source_name || '_' || v.target;
    side := format('%I.%I', source_schema, side_name);
    if octet_length(side_name) > 63 then
        raise exception using errcode = 'PB007',
            message = format('target => "%s" is too long for the table %s', v.target, side_name);
    elsif to_regclass(side) is not null then
        raise exception using errcode = 'PB007',
            message = format('relation %s exists', side),
            hint = 'Give another suffix with target =>.';
    end if;
    execute format(
        'create table %s (%s, %I %s(%s) not null, primary key (%s))',
        side,
        (select string_agg(format('%I %s not null', k.name, pgsbert.column_type(v.source, k.number)), ', ' order by k.place)
         from pgsbert.key_columns(pgsbert.key_index(v.source)) as k),
        pgsbert.free_name('embedding', keys::text[]), pgsbert.vector_type(), (pgsbert.bi_encoder_named(v.model)).dimensions,
        (select string_agg(quote_ident(name), ', ' order by i) from unnest(keys) with ordinality as u (name, i))
    );
    execute format('comment on table %s is %L', side, format('Embeddings of %s, kept by pgsbert', v.source));
    execute format('grant select, insert, update, delete on %s to pgsbert_worker', side);
    -- whoever reads the source reads its vectors: the search function runs as its caller
    for reader in
        select distinct a.grantee
        from pg_class as c cross join aclexplode(c.relacl) as a
        where c.oid = v.source and a.privilege_type = 'SELECT' and a.grantee <> c.relowner
    loop
        execute format('grant select on %s to %s', side,
                       case when reader.grantee = 0 then 'public' else quote_ident(pg_get_userbyid(reader.grantee)) end);
    end loop;
    if owner <> current_user then
        execute format('alter table %s owner to %I', side, owner);
    end if;
    perform pgsbert.register_side(v.id, side::regclass);
    -- Always: row security may come to the source later, and who sees a row there sees its vector here. The subquery
    -- runs with the rights of the reader.
    execute format('alter table %s enable row level security', side);
    if forced then
        execute format('alter table %s force row level security', side);
        -- the trigger functions delete with the owner's rights
        execute format('create policy of_owner on %s to %I using (true) with check (true)', side, owner);
    end if;
    execute format('create policy of_worker on %s to pgsbert_worker using (true) with check (true)', side);
    execute format(
        'create policy of_source on %s for select using (exists (select from %s as s where %s))',
        side, v.source, pgsbert.side_match(pgsbert.find_vectorizer(v.name), 's', quote_ident(side_name))
    );
end;
$$;


ALTER FUNCTION pgsbert.create_side(v pgsbert.vectorizer) OWNER TO postgres;

--
-- Name: FUNCTION create_side(v pgsbert.vectorizer); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.create_side(v pgsbert.vectorizer) IS 'Makes the side table of storage => ''table'': the key, and the embedding';


--
-- Name: create_trigger_functions(pgsbert.vectorizer); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.create_trigger_functions(v pgsbert.vectorizer) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
declare
    unmoved text := pgsbert.unmoved_sql(v);
    -- tried here as well: an awake worker then costs neither a call nor a query
    wake text := $make$
    if queued > 0 and pg_try_advisory_lock_shared(1885827938, 1) then
        perform pg_advisory_unlock_shared(1885827938, 1);
        perform pgsbert.wake();
    end if;$make$;
    -- where the functions do not fit: a trigger of this table, or one that its owner made on another
    if_foreign text := case when v.side is null then format(
        'if not exists (select from pgsbert.vectorizer where id = %s and source = tg_relid) then return null; end if;', v.id
    ) else '' end;
    clear_side text := '';
    try_gone text := '';
    leave_gone text := '';
begin
    if v.row_triggers then
        perform pgsbert.create_row_trigger_functions(v);
        return;
    end if;
    if v.side is not null then
        clear_side := format($make$
    if queued > 0 then
        statement := pgsbert.enqueue_anew(%1$s, 'unside');
        -- one by one, so that each is found by key whatever the side table's size
        for cleared in execute coalesce(pgsbert.enqueue_anew(%1$s, 'cleared'), 'select where false') loop
            if current_setting('transaction_isolation') like 'read%%' then
                execute statement using %2$s;
            else
                begin
                    execute statement using %2$s;
                exception when serialization_failure then
                    -- settled after this transaction's snapshot; it is queued, so the worker clears it
                    null;
                end;
            end if;
        end loop;
    end if;$make$,
            v.id, (select string_agg('cleared.k' || i, ', ') from generate_series(1, cardinality(v.key_numbers)) as i)
        );
        -- A settle after the snapshot of a REPEATABLE READ transaction is invisible to it, or raises: then the worker,
        -- for which the row is gone as well, removes what was stored.
        try_gone := 'begin';
        leave_gone := $make$
        if current_setting('transaction_isolation') not like 'read%%' then
            execute pgsbert.enqueue_anew(%1$s, 'requeue %2$s');
        end if;
    exception when serialization_failure then
        for cleared in execute pgsbert.enqueue_anew(%1$s, 'gone %2$s') loop
            perform pgsbert.leave_to_worker(%1$s, cleared.key);
        end loop;
    end;
    if current_setting('transaction_isolation') not like 'read%%' then
        perform pgsbert.wake();
    end if;$make$;
    end if;
    perform pgsbert.make_trigger_function(v, format('enqueue_%s_insert', v.id), '', format($body$
declare
    statement text;
    queued bigint;
begin
    if %2$s then
        %3$s;
        get diagnostics queued = row_count;
        -- one expression where a worker is awake: each costs every transaction anew
        if queued = 200 or queued > 0 and pg_try_advisory_lock_shared(1885827938, 1) then
            if queued = 200 then
                begin
                    %4$s;
                exception when unique_violation then
                    %5$s;
                end;
            else
                perform pg_advisory_unlock_shared(1885827938, 1);
            end if;
            perform pgsbert.wake();
        end if;
        return null;
    end if;
    %6$s
    statement := pgsbert.enqueue_anew(%1$s, 'insert');
    if statement is not null then
        execute statement;
        perform pgsbert.wake();
    end if;
    return null;
end;
$body$, v.id, unmoved, pgsbert.enqueue_sql(v, 'insert_first'), pgsbert.enqueue_sql(v, 'insert_rest'),
        pgsbert.enqueue_sql(v, 'insert_rest_again'), if_foreign));
    -- A plan is kept for the session, made for the row count of its first statement: a nested loop chosen for one
    -- row would then serve twenty thousand. Hash joins serve both.
    perform pgsbert.make_trigger_function(v, format('enqueue_%s_update', v.id), 'set enable_nestloop = off', format($body$
declare
    statement text;
    queued bigint;
    gone bigint;
    cleared record;
begin
    if %2$s then
        %3$s into queued, gone;
    else
        %8$s
        statement := pgsbert.enqueue_anew(%1$s, 'update');
        if statement is null then
            return null;
        end if;
        execute statement into queued, gone;
    end if;
    if gone > 0 then
        statement := pgsbert.enqueue_anew(%1$s, 'rekey');
        if statement is not null then
            %5$s
            execute statement;
            %6$s
            -- a row that took another's key may have its text and yet no vector: queue them all
            execute pgsbert.enqueue_anew(%1$s, 'insert');
        end if;
    end if;
    %4$s
    %7$s
    return null;
end;
$body$, v.id, unmoved, pgsbert.enqueue_sql(v, 'update'), clear_side, try_gone, format(leave_gone, v.id, 'rekey'), wake, if_foreign));
    -- Here the kept plan must probe the queue by key for every row, be the queue empty or huge.
    perform pgsbert.make_trigger_function(v, format('enqueue_%s_delete', v.id), 'set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off', format($body$
declare
    statement text;
    cleared record;
begin
    %4$s
    if %2$s then
        %3$s;
    else
        %6$s
        statement := pgsbert.enqueue_anew(%1$s, 'delete');
        if statement is null then
            return null;
        end if;
        execute statement;
    end if;
    %5$s
    return null;
end;
$body$, v.id, unmoved, pgsbert.enqueue_sql(v, 'delete'), try_gone, format(leave_gone, v.id, 'delete'), if_foreign));
    perform pgsbert.make_trigger_function(v, format('enqueue_%s_truncate', v.id), '', format($body$
declare
    statement text;
begin
    if %2$s then
        %3$s;
    else
        statement := pgsbert.enqueue_anew(%1$s, 'truncate');
        if statement is not null then
            execute statement;
        end if;
    end if;
    %4$s
    return null;
end;
$body$, v.id, case when v.side is null then 'true' else unmoved end, pgsbert.enqueue_sql(v, 'truncate'),
        -- the table is written anew, so the functions know it no more
        case when v.side is null then format('perform pgsbert.refit(%s);', v.id) else '' end));
    -- The vector column is set by the name it has now: reached only when WHEN found something to clear.
    perform pgsbert.make_trigger_function(v, format('clear_%s', v.id), '', pgsbert.clear_body(v));
    perform pgsbert.grant_to_owner(v);
end;
$_$;


ALTER FUNCTION pgsbert.create_trigger_functions(v pgsbert.vectorizer) OWNER TO postgres;

--
-- Name: FUNCTION create_trigger_functions(v pgsbert.vectorizer); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.create_trigger_functions(v pgsbert.vectorizer) IS 'Makes the trigger functions of a vectorizer for its source as it is now';


--
-- Name: create_triggers(pgsbert.vectorizer); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.create_triggers(v pgsbert.vectorizer) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
declare
    -- named to sort after the table's own BEFORE triggers, which may rewrite the text
    prefix text := format('zzzz_pgsbert_%s', v.id);
    empties text := (
        select string_agg(format('coalesce(new.%I::text, '''') collate "C" = ''''', name), ' and ')
        from unnest(v.column_names) as name
    );
    changes text := (
        -- the same comparison as in enqueue_sql: what is cleared here must be queued there
        select string_agg(format('coalesce(new.%1$I::text collate "C", '''') <> coalesce(old.%1$I::text collate "C", '''')', name), ' or ')
        from unnest(v.column_names) as name
    );
    has_generated boolean := exists (
        select from pg_attribute as a
        where a.attrelid = v.source and a.attnum = any (v.column_numbers) and a.attgenerated <> ''
    );
begin
    if v.row_triggers then
        perform pgsbert.create_row_triggers(v, prefix);
    else
        execute format(
            'create trigger %I after insert on %s referencing new table as new_rows for each statement execute function pgsbert.enqueue_%s_insert()',
            prefix || '_insert', v.source, v.id
        );
        execute format(
            'create trigger %I after update on %s referencing new table as new_rows old table as old_rows for each statement execute function pgsbert.enqueue_%s_update()',
            prefix || '_update', v.source, v.id
        );
        execute format(
            'create trigger %I after delete on %s referencing old table as old_rows for each statement execute function pgsbert.enqueue_%s_delete()',
            prefix || '_delete', v.source, v.id
        );
    end if;
    execute format(
        'create trigger %I after truncate on %s for each statement execute function pgsbert.enqueue_%s_truncate()',
        prefix || '_truncate', v.source, v.id
    );
    if v.storage = 'column' and not has_generated then
        execute format(
            'create trigger %I before update on %s for each row when (new.%I is not null and %s) execute function pgsbert.clear_%s()',
            prefix || '_empty', v.source, v.target, empties, v.id
        );
        if v.on_change = 'clear' then
            execute format(
                'create trigger %I before update on %s for each row when (new.%I is not null and (%s)) execute function pgsbert.clear_%s()',
                prefix || '_clear', v.source, v.target, changes, v.id
            );
        end if;
    end if;
    if v.row_triggers then
        perform pgsbert.always_fire(v.source, prefix);
    end if;
end;
$_$;


ALTER FUNCTION pgsbert.create_triggers(v pgsbert.vectorizer) OWNER TO postgres;

--
-- Name: FUNCTION create_triggers(v pgsbert.vectorizer); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.create_triggers(v pgsbert.vectorizer) IS 'Makes the triggers of a vectorizer on its source, with the caller''s rights';


--
-- Name: create_vectorizer(regclass, text[], text, text, text, text, text, text, text, text, boolean, text); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.create_vectorizer(source regclass, columns text[] DEFAULT NULL::text[], template text DEFAULT NULL::text, name text DEFAULT NULL::text, model text DEFAULT NULL::text, storage text DEFAULT 'column'::text, target text DEFAULT 'embedding'::text, distance text DEFAULT 'cosine'::text, index text DEFAULT 'hnsw'::text, on_change text DEFAULT 'keep'::text, if_not_exists boolean DEFAULT false, triggers text DEFAULT NULL::text) RETURNS text
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
    vectorizer_name text;
    v pgsbert.vectorizer;
    update_triggers text;
    lock_timeout_before text;
begin
    if source is null then
        raise exception using errcode = 'PB007', message = 'source must be a table, not NULL';
    end if;
    vectorizer_name := coalesce(name, (select c.relname from pg_class as c where c.oid = source));
    if if_not_exists and pgsbert.vectorizer_exists(vectorizer_name, source) then
        raise notice 'vectorizer "%" already exists, skipping', vectorizer_name;
        return vectorizer_name;
    end if;
    lock_timeout_before := pgsbert.limit_lock_waits();
    v := pgsbert.register_vectorizer(source, columns, template, vectorizer_name, model, storage, target, distance, index, on_change);
    perform pgsbert.drop_orphans(v);
    if storage = 'table' then
        perform pgsbert.create_side(v);
    else
        if not exists (select from pg_attribute as a where a.attrelid = source and a.attname = target and not a.attisdropped) then
            execute format(
                'alter table %s add column %I %s(%s)',
                source, target, pgsbert.vector_type(), (pgsbert.bi_encoder_named(v.model)).dimensions
            );
        end if;
        select string_agg(quote_ident(t.tgname), ', ') into update_triggers
        from pg_trigger as t
        join pg_proc as p on p.oid = t.tgfoid
        where t.tgrelid = source and not t.tgisinternal and t.tgtype::int & 16 = 16
          and p.pronamespace <> 'pgsbert'::regnamespace;
        if update_triggers is not null then
            raise notice 'storing a vector is an UPDATE of %, so its update triggers will run for it: %', source, update_triggers
                using hint = 'With storage => ''table'' they do not.';
        end if;
    end if;
    v := pgsbert.build_vectorizer(v.id, triggers);
    perform pgsbert.create_triggers(v);
    perform pgsbert.grant_to_worker(v);
    perform pgsbert.create_search(v);
    perform pgsbert.announce();
    perform set_config('lock_timeout', lock_timeout_before, true);
    return vectorizer_name;
exception when lock_not_available then
    perform pgsbert.raise_held(source);
end;
$$;


ALTER FUNCTION pgsbert.create_vectorizer(source regclass, columns text[], template text, name text, model text, storage text, target text, distance text, index text, on_change text, if_not_exists boolean, triggers text) OWNER TO postgres;

--
-- Name: FUNCTION create_vectorizer(source regclass, columns text[], template text, name text, model text, storage text, target text, distance text, index text, on_change text, if_not_exists boolean, triggers text); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.create_vectorizer(source regclass, columns text[], template text, name text, model text, storage text, target text, distance text, index text, on_change text, if_not_exists boolean, triggers text) IS 'Keeps an embedding of the columns of a table true from now on, existing rows included; returns the name of the vectorizer';


--
-- Name: discard_failures(text); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.discard_failures(name text) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
    v pgsbert.vectorizer := pgsbert.vectorizer_named(name);
    discarded bigint;
begin
    perform pgsbert.check_owner(v.source);
    execute format(
        'with gone as (delete from pgsbert.lease_%s where failed_at is not null returning 1) select count(*) from gone', v.id
    ) into discarded;
    return discarded;
end;
$$;


ALTER FUNCTION pgsbert.discard_failures(name text) OWNER TO postgres;

--
-- Name: FUNCTION discard_failures(name text); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.discard_failures(name text) IS 'Forgets the failed rows of a vectorizer, which stay without a vector; returns how many';


--
-- Name: target_name(pgsbert.vectorizer); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.target_name(v pgsbert.vectorizer) RETURNS name
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    RETURN CASE WHEN ((v).storage = 'table'::text) THEN (SELECT pg_attribute.attname FROM pg_attribute WHERE ((pg_attribute.attrelid = ((target_name.v).side)::oid) AND (pg_attribute.attnum = (cardinality((target_name.v).key_numbers) + 1)) AND (NOT pg_attribute.attisdropped))) ELSE (SELECT pg_attribute.attname FROM pg_attribute WHERE ((pg_attribute.attrelid = ((target_name.v).source)::oid) AND (pg_attribute.attnum = (target_name.v).target_number) AND (NOT pg_attribute.attisdropped))) END;


ALTER FUNCTION pgsbert.target_name(v pgsbert.vectorizer) OWNER TO postgres;

--
-- Name: FUNCTION target_name(v pgsbert.vectorizer); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.target_name(v pgsbert.vectorizer) IS 'What the vector column is called now';


--
-- Name: vector_type(); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.vector_type() RETURNS regtype
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    RETURN (SELECT (t.oid)::regtype AS oid FROM ((pg_extension e JOIN pg_depend d ON (((d.refclassid = ('pg_extension'::regclass)::oid) AND (d.refobjid = e.oid) AND (d.deptype = 'e'::"char")))) JOIN pg_type t ON (((d.classid = ('pg_type'::regclass)::oid) AND (d.objid = t.oid)))) WHERE ((e.extname = 'vector'::name) AND (t.typname = 'vector'::name)));


ALTER FUNCTION pgsbert.vector_type() OWNER TO postgres;

--
-- Name: FUNCTION vector_type(); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.vector_type() IS 'The type vector, in whatever schema the extension lives now';


--
-- Name: vector_schema(); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.vector_schema() RETURNS name
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    RETURN (SELECT n.nspname FROM (pg_type t JOIN pg_namespace n ON ((n.oid = t.typnamespace))) WHERE (t.oid = (pgsbert.vector_type())::oid));


ALTER FUNCTION pgsbert.vector_schema() OWNER TO postgres;

--
-- Name: FUNCTION vector_schema(); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.vector_schema() IS 'Where the operators and operator classes of vector live';


--
-- Name: distance_expression(pgsbert.vectorizer, text); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.distance_expression(v pgsbert.vectorizer, other text) RETURNS text
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    RETURN format('(%s.%I operator(%I.%s) %s)'::text, CASE WHEN ((v).storage = 'table'::text) THEN 't'::text ELSE 's'::text END, pgsbert.target_name(v), pgsbert.vector_schema(), CASE (v).distance WHEN 'cosine'::text THEN '<=>'::text WHEN 'l2'::text THEN '<->'::text ELSE '<#>'::text END, other);


ALTER FUNCTION pgsbert.distance_expression(v pgsbert.vectorizer, other text) OWNER TO postgres;

--
-- Name: FUNCTION distance_expression(v pgsbert.vectorizer, other text); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.distance_expression(v pgsbert.vectorizer, other text) IS 'The distance of a row to a vector, as the index of the vectorizer orders it';


--
-- Name: document_expression(pgsbert.vectorizer, text); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.document_expression(v pgsbert.vectorizer, alias text) RETURNS text
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    BEGIN ATOMIC
 WITH tracked AS (
          SELECT u.place,
             format('%s.%I::text collate "C"'::text, document_expression.alias, a.attname) AS content
            FROM (unnest((document_expression.v).column_numbers) WITH ORDINALITY u(number, place)
              JOIN pg_attribute a ON (((a.attrelid = ((document_expression.v).source)::oid) AND (a.attnum = u.number))))
         ), part AS (
          SELECT m.place,
                 CASE m.found[1]
                     WHEN '{{'::text THEN '{'::text
                     WHEN '}}'::text THEN '}'::text
                     ELSE m.found[1]
                 END AS literal,
             t.content
            FROM (regexp_matches((document_expression.v).template, '\{\{|\}\}|\{\d+\}|[^{}]+'::text, 'g'::text) WITH ORDINALITY m(found, place)
              LEFT JOIN tracked t ON ((m.found[1] = (('{'::text || t.place) || '}'::text))))
         )
  SELECT
         CASE
             WHEN ((v).template IS NULL) THEN ( SELECT format('pg_catalog.concat_ws(E''\n'', %s)'::text, string_agg(format('nullif(%s, '''')'::text, tracked.content), ', '::text ORDER BY tracked.place)) AS format
                FROM tracked)
             ELSE ( SELECT format('case when %s then '''' else %s end'::text, e.nothing, f.filled_in) AS format
                FROM ( SELECT string_agg(format('coalesce(%s, '''') = '''''::text, tracked.content), ' and '::text ORDER BY tracked.place) AS string_agg
                        FROM tracked) e(nothing),
                 ( SELECT string_agg(COALESCE((('coalesce('::text || part.content) || ', '''')'::text), quote_literal(part.literal)), ' || '::text ORDER BY part.place) AS string_agg
                        FROM part) f(filled_in))
         END AS format;
END;


ALTER FUNCTION pgsbert.document_expression(v pgsbert.vectorizer, alias text) OWNER TO postgres;

--
-- Name: FUNCTION document_expression(v pgsbert.vectorizer, alias text); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.document_expression(v pgsbert.vectorizer, alias text) IS 'The text of a row as it is embedded';


--
-- Name: drop_orphaned_queues(oid, integer); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.drop_orphaned_queues(source oid, vectorizer_id integer) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET client_min_messages TO 'warning'
    AS $_$
declare
    number integer;
    trigger_function regprocedure;
begin
    for number in
        select vectorizer_id
        union
        select substring(p.proname from '^(?:enqueue|clear)_([0-9]+)')::integer
        from pg_trigger as t
        join pg_proc as p on p.oid = t.tgfoid and p.pronamespace = 'pgsbert'::regnamespace
        where t.tgrelid = source
    loop
        continue when number is null or number <> vectorizer_id and exists (select from pgsbert.vectorizer as v where v.id = number);
        execute format('drop table if exists pgsbert.pending_%1$s, pgsbert.lease_%1$s, pgsbert.fill_%1$s', number);
        for trigger_function in
            select p.oid::regprocedure from pg_proc as p
            where p.pronamespace = 'pgsbert'::regnamespace and p.proname ~ format('^(enqueue|clear)_%s(_|$)', number)
        loop
            execute format('drop function %s cascade', trigger_function);
        end loop;
    end loop;
end;
$_$;


ALTER FUNCTION pgsbert.drop_orphaned_queues(source oid, vectorizer_id integer) OWNER TO postgres;

--
-- Name: FUNCTION drop_orphaned_queues(source oid, vectorizer_id integer); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.drop_orphaned_queues(source oid, vectorizer_id integer) IS 'Part of create_vectorizer: removes queues and triggers whose vectorizer was not restored with them';


--
-- Name: drop_orphans(pgsbert.vectorizer); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.drop_orphans(v pgsbert.vectorizer) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
    orphan record;
begin
    for orphan in select * from pgsbert.orphans(v) loop
        execute format('drop %s %s', orphan.kind, orphan.name);
    end loop;
end;
$$;


ALTER FUNCTION pgsbert.drop_orphans(v pgsbert.vectorizer) OWNER TO postgres;

--
-- Name: FUNCTION drop_orphans(v pgsbert.vectorizer); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.drop_orphans(v pgsbert.vectorizer) IS 'Part of create_vectorizer: drops with the caller''s rights what was restored without its vectorizer';


--
-- Name: drop_search(pgsbert.vectorizer); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.drop_search(v pgsbert.vectorizer) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
    ours record;
begin
    for ours in
        select p.oid::regprocedure as name
        from pg_description as d join pg_proc as p on d.classoid = 'pg_proc'::regclass and p.oid = d.objoid
        -- what a stranger labelled so must not stop the drop
        where pgsbert.is_ours(d.description, v) and pg_has_role(p.proowner, 'usage')
    loop
        execute format('drop function %s', ours.name);
    end loop;
    for ours in
        select c.oid::regclass as name
        from pg_description as d join pg_class as c on d.classoid = 'pg_class'::regclass and c.oid = d.objoid
        where d.objsubid = 0 and c.relkind = 'v' and pgsbert.is_ours(d.description, v) and pg_has_role(c.relowner, 'usage')
    loop
        execute format('drop view %s', ours.name);
    end loop;
end;
$$;


ALTER FUNCTION pgsbert.drop_search(v pgsbert.vectorizer) OWNER TO postgres;

--
-- Name: FUNCTION drop_search(v pgsbert.vectorizer); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.drop_search(v pgsbert.vectorizer) IS 'Removes the search function and the neighbors view of a vectorizer';


--
-- Name: drop_vectorizer(text, boolean, boolean); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.drop_vectorizer(name text, drop_vectors boolean DEFAULT false, if_exists boolean DEFAULT false) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
    v pgsbert.vectorizer;
    target name;
    lock_timeout_before text;
begin
    if if_exists and not pgsbert.is_vectorizer(name) then
        raise notice 'vectorizer "%" does not exist, skipping', name;
        return;
    end if;
    v := pgsbert.find_vectorizer(name);
    lock_timeout_before := pgsbert.limit_lock_waits();
    perform pgsbert.unregister_vectorizer(name);
    perform pgsbert.drop_search(v);
    if drop_vectors and exists (select from pg_class where oid = v.side) then
        execute format('drop table %s', v.side);
    end if;
    if exists (select from pg_class where oid = v.source) then
        perform pgsbert.leave_table(v);
        target := (select attname from pg_attribute where attrelid = v.source and attnum = v.target_number and not attisdropped);
        if drop_vectors and v.storage = 'column' and target is not null then
            execute format('alter table %s drop column %I', v.source, target);
        end if;
    end if;
    perform set_config('lock_timeout', lock_timeout_before, true);
exception when lock_not_available then
    perform pgsbert.raise_held(v.source);
end;
$$;


ALTER FUNCTION pgsbert.drop_vectorizer(name text, drop_vectors boolean, if_exists boolean) OWNER TO postgres;

--
-- Name: FUNCTION drop_vectorizer(name text, drop_vectors boolean, if_exists boolean); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.drop_vectorizer(name text, drop_vectors boolean, if_exists boolean) IS 'Ends a vectorizer; the vectors stay unless drop_vectors';


--
-- Name: embed(text[], text); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.embed(contents text[], model text DEFAULT NULL::text) RETURNS public.vector[]
    LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL RESTRICTED
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
    known text[] := array(select content from unnest(contents) as content where content is not null);
    vectors "public".vector[];
begin
    if contents is null then
        return null;
    end if;
    perform pgsbert.check_text(content) from unnest(known) as content;
    if known <> '{}' then
        vectors := (pgsbert.ask('embed', model, null, known)).vectors;
    end if;
    return array(
        select case when content is not null then vectors[count(content) over (order by place)] end
        from unnest(contents) with ordinality as c (content, place)
        order by place
    );
end;
$$;


ALTER FUNCTION pgsbert.embed(contents text[], model text) OWNER TO postgres;

--
-- Name: FUNCTION embed(contents text[], model text); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.embed(contents text[], model text) IS 'The embeddings of many texts, in their order; NULL stays NULL';


--
-- Name: embed(text, text); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.embed(content text, model text DEFAULT NULL::text) RETURNS public.vector
    LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL RESTRICTED
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
    slot refcursor;
    memo record;
    vectors "public".vector[];
begin
    if content is null then
        return null;
    end if;
    perform pgsbert.check_text(content);
    -- Remembered for the transaction in a cursor: it writes nothing, ends with the transaction and works in a
    -- parallel plan, where a setting cannot be changed. The hash only finds it; the text is compared.
    slot := 'pgsbert_embed_' || hashtextextended(content, hashtextextended(coalesce(model, ''), 0));
    -- A stranger's cursor of that name would run its query with the rights of this function: only ours has this text,
    -- which reads variables and nothing else.
    if exists (
        select from pg_cursors
        where name = slot::text and statement = 'select content as content, model as model, vectors[1] as embedding'
    ) then
        fetch absolute 1 from slot into memo;
        if memo.content = content and memo.model is not distinct from model then
            return memo.embedding;
        end if;
    end if;
    vectors := (pgsbert.ask('embed', model, null, array[content])).vectors;
    if (select count(*) filter (where name = slot::text) = 0 and count(*) < 64
        from pg_cursors where name like 'pgsbert\_embed\_%') then
        open slot scroll for select content as content, model as model, vectors[1] as embedding;
    end if;
    return vectors[1];
end;
$$;


ALTER FUNCTION pgsbert.embed(content text, model text) OWNER TO postgres;

--
-- Name: FUNCTION embed(content text, model text); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.embed(content text, model text) IS 'The embedding of a text by a registered bi-encoder; write it as (SELECT pgsbert.embed(...)) so that an index serves the query';


--
-- Name: vectorizer_named(text); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.vectorizer_named(vectorizer_name text) RETURNS pgsbert.vectorizer
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
    v pgsbert.vectorizer;
begin
    select * into v from pgsbert.vectorizer where name = vectorizer_name;
    if not found then
        raise exception using
            errcode = 'PB006',
            message = format('no vectorizer is called "%s"', vectorizer_name),
            hint = coalesce(
                'There are: ' || (select string_agg(name, ', ' order by name) from pgsbert.vectorizer) || '.',
                'There is none yet: make one with pgsbert.create_vectorizer.'
            );
    end if;
    return pgsbert.recognized(v);
end;
$$;


ALTER FUNCTION pgsbert.vectorizer_named(vectorizer_name text) OWNER TO postgres;

--
-- Name: FUNCTION vectorizer_named(vectorizer_name text); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.vectorizer_named(vectorizer_name text) IS 'The vectorizer of that name, or PB006';


--
-- Name: find_vectorizer(text); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.find_vectorizer(vectorizer_name text) RETURNS pgsbert.vectorizer
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    RETURN pgsbert.vectorizer_named(vectorizer_name);


ALTER FUNCTION pgsbert.find_vectorizer(vectorizer_name text) OWNER TO postgres;

--
-- Name: FUNCTION find_vectorizer(vectorizer_name text); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.find_vectorizer(vectorizer_name text) IS 'The vectorizer of that name for callers who may not read the table, or PB006';


--
-- Name: embed_for(text, text); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.embed_for(vectorizer text, content text) RETURNS public.vector
    LANGUAGE sql STABLE PARALLEL RESTRICTED
    RETURN pgsbert.embed(content, (pgsbert.find_vectorizer(vectorizer)).model);


ALTER FUNCTION pgsbert.embed_for(vectorizer text, content text) OWNER TO postgres;

--
-- Name: FUNCTION embed_for(vectorizer text, content text); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.embed_for(vectorizer text, content text) IS 'The embedding of a query by the model of a vectorizer';


--
-- Name: enqueue_1_delete(); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.enqueue_1_delete() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET enable_seqscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    AS $$
declare
    statement text;
    cleared record;
begin
    
    if has_column_privilege(tg_relid, 2::smallint, 'select') is not null and has_column_privilege(tg_relid, 3::smallint, 'select') is not null and has_column_privilege(tg_relid, 4::smallint, 'select') is not null and has_column_privilege(tg_relid, 5::smallint, 'select') is not null and pg_relation_filenode(17131::oid) is not null and tg_relid = 17125::oid and pg_relation_filenode(tg_relid) = 17125::oid then
        delete from pgsbert.pending_1 as p using old_rows as o(c2, c3, c4, c5) where p.k1 operator(pg_catalog.=) o.c2;
    else
        if not exists (select from pgsbert.vectorizer where id = 1 and source = tg_relid) then return null; end if;
        statement := pgsbert.enqueue_anew(1, 'delete');
        if statement is null then
            return null;
        end if;
        execute statement;
    end if;
    
    return null;
end;
$$;


ALTER FUNCTION pgsbert.enqueue_1_delete() OWNER TO postgres;

--
-- Name: FUNCTION enqueue_1_delete(); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.enqueue_1_delete() IS 'A trigger function of vectorizer article';


--
-- Name: enqueue_1_insert(); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.enqueue_1_insert() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
    statement text;
    queued bigint;
begin
    if has_column_privilege(tg_relid, 2::smallint, 'select') is not null and has_column_privilege(tg_relid, 3::smallint, 'select') is not null and has_column_privilege(tg_relid, 4::smallint, 'select') is not null and has_column_privilege(tg_relid, 5::smallint, 'select') is not null and pg_relation_filenode(17131::oid) is not null and tg_relid = 17125::oid and pg_relation_filenode(tg_relid) = 17125::oid then
        insert into pgsbert.pending_1 as p (k1, revision) select n.c2, nextval('pgsbert.revision') from new_rows as n(c2, c3, c4, c5) where (n.c3::text collate "C" <> '' or n.c4::text collate "C" <> '' or n.c5 is not null) and true limit 200 on conflict (k1) do update set revision = excluded.revision;
        get diagnostics queued = row_count;
        -- one expression where a worker is awake: each costs every transaction anew
        if queued = 200 or queued > 0 and pg_try_advisory_lock_shared(1885827938, 1) then
            if queued = 200 then
                begin
                    insert into pgsbert.pending_1 as p (k1, revision) select n.c2, nextval('pgsbert.revision') from new_rows as n(c2, c3, c4, c5) where (n.c3::text collate "C" <> '' or n.c4::text collate "C" <> '' or n.c5 is not null) and true offset 200;
                exception when unique_violation then
                    insert into pgsbert.pending_1 as p (k1, revision) select n.c2, nextval('pgsbert.revision') from new_rows as n(c2, c3, c4, c5) where (n.c3::text collate "C" <> '' or n.c4::text collate "C" <> '' or n.c5 is not null) and true offset 200 on conflict (k1) do update set revision = excluded.revision;
                end;
            else
                perform pg_advisory_unlock_shared(1885827938, 1);
            end if;
            perform pgsbert.wake();
        end if;
        return null;
    end if;
    if not exists (select from pgsbert.vectorizer where id = 1 and source = tg_relid) then return null; end if;
    statement := pgsbert.enqueue_anew(1, 'insert');
    if statement is not null then
        execute statement;
        perform pgsbert.wake();
    end if;
    return null;
end;
$$;


ALTER FUNCTION pgsbert.enqueue_1_insert() OWNER TO postgres;

--
-- Name: FUNCTION enqueue_1_insert(); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.enqueue_1_insert() IS 'A trigger function of vectorizer article';


--
-- Name: enqueue_1_truncate(); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.enqueue_1_truncate() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
    statement text;
begin
    if true then
        delete from pgsbert.pending_1;
    else
        statement := pgsbert.enqueue_anew(1, 'truncate');
        if statement is not null then
            execute statement;
        end if;
    end if;
    perform pgsbert.refit(1);
    return null;
end;
$$;


ALTER FUNCTION pgsbert.enqueue_1_truncate() OWNER TO postgres;

--
-- Name: FUNCTION enqueue_1_truncate(); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.enqueue_1_truncate() IS 'A trigger function of vectorizer article';


--
-- Name: enqueue_1_update(); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.enqueue_1_update() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET enable_nestloop TO 'off'
    AS $$
declare
    statement text;
    queued bigint;
    gone bigint;
    cleared record;
begin
    if has_column_privilege(tg_relid, 2::smallint, 'select') is not null and has_column_privilege(tg_relid, 3::smallint, 'select') is not null and has_column_privilege(tg_relid, 4::smallint, 'select') is not null and has_column_privilege(tg_relid, 5::smallint, 'select') is not null and pg_relation_filenode(17131::oid) is not null and tg_relid = 17125::oid and pg_relation_filenode(tg_relid) = 17125::oid then
        with diff as materialized (select n.c2 as new_1, o.c2 as old_1 from new_rows as n(c2, c3, c4, c5) full join old_rows as o(c2, c3, c4, c5) on o.c2 operator(pg_catalog.=) n.c2 where n.c2 is not distinct from null or coalesce(n.c3::text collate "C", '') <> coalesce(o.c3::text collate "C", '') or coalesce(n.c4::text collate "C", '') <> coalesce(o.c4::text collate "C", '')), queued as (insert into pgsbert.pending_1 as p (k1, revision) select new_1, nextval('pgsbert.revision') from diff where new_1 is distinct from null on conflict (k1) do update set revision = excluded.revision returning 1) select (select count(*) from queued), (select count(*) from diff where new_1 is not distinct from null) into queued, gone;
    else
        if not exists (select from pgsbert.vectorizer where id = 1 and source = tg_relid) then return null; end if;
        statement := pgsbert.enqueue_anew(1, 'update');
        if statement is null then
            return null;
        end if;
        execute statement into queued, gone;
    end if;
    if gone > 0 then
        statement := pgsbert.enqueue_anew(1, 'rekey');
        if statement is not null then
            
            execute statement;
            
            -- a row that took another's key may have its text and yet no vector: queue them all
            execute pgsbert.enqueue_anew(1, 'insert');
        end if;
    end if;
    
    
    if queued > 0 and pg_try_advisory_lock_shared(1885827938, 1) then
        perform pg_advisory_unlock_shared(1885827938, 1);
        perform pgsbert.wake();
    end if;
    return null;
end;
$$;


ALTER FUNCTION pgsbert.enqueue_1_update() OWNER TO postgres;

--
-- Name: FUNCTION enqueue_1_update(); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.enqueue_1_update() IS 'A trigger function of vectorizer article';


--
-- Name: enqueue_2_delete(); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.enqueue_2_delete() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET enable_seqscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    AS $$
declare
    statement text;
    cleared record;
begin
    begin
    if has_column_privilege(tg_relid, 1::smallint, 'select') is not null and has_column_privilege(tg_relid, 2::smallint, 'select') is not null and has_column_privilege(tg_relid, 3::smallint, 'select') is not null and pg_relation_filenode(17187::oid) is not null and to_regclass('public.page_embedding') = 17227::oid and has_table_privilege(17227::oid, 'delete') and (select count(*) from pg_attribute where attrelid = 17227 and attname = any ('{nr,lang}')) = 2 then
        delete from pgsbert.pending_2 as p using old_rows as o(c1, c2, c3) where p.k1 operator(pg_catalog.=) o.c2 and p.k2 operator(pg_catalog.=) o.c1; delete from public.page_embedding as t using old_rows as o(c1, c2, c3) where t.nr operator(pg_catalog.=) o.c2 and t.lang operator(pg_catalog.=) o.c1;
    else
        
        statement := pgsbert.enqueue_anew(2, 'delete');
        if statement is null then
            return null;
        end if;
        execute statement;
    end if;
    
        if current_setting('transaction_isolation') not like 'read%' then
            execute pgsbert.enqueue_anew(2, 'requeue delete');
        end if;
    exception when serialization_failure then
        for cleared in execute pgsbert.enqueue_anew(2, 'gone delete') loop
            perform pgsbert.leave_to_worker(2, cleared.key);
        end loop;
    end;
    if current_setting('transaction_isolation') not like 'read%' then
        perform pgsbert.wake();
    end if;
    return null;
end;
$$;


ALTER FUNCTION pgsbert.enqueue_2_delete() OWNER TO postgres;

--
-- Name: FUNCTION enqueue_2_delete(); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.enqueue_2_delete() IS 'A trigger function of vectorizer page';


--
-- Name: enqueue_2_insert(); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.enqueue_2_insert() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
    statement text;
    queued bigint;
begin
    if has_column_privilege(tg_relid, 1::smallint, 'select') is not null and has_column_privilege(tg_relid, 2::smallint, 'select') is not null and has_column_privilege(tg_relid, 3::smallint, 'select') is not null and pg_relation_filenode(17187::oid) is not null and to_regclass('public.page_embedding') = 17227::oid and has_table_privilege(17227::oid, 'delete') and (select count(*) from pg_attribute where attrelid = 17227 and attname = any ('{nr,lang}')) = 2 then
        insert into pgsbert.pending_2 as p (k1, k2, revision) select n.c2, n.c1, nextval('pgsbert.revision') from new_rows as n(c1, c2, c3) where (n.c3::text collate "C" <> '') and true limit 200 on conflict (k1, k2) do update set revision = excluded.revision;
        get diagnostics queued = row_count;
        -- one expression where a worker is awake: each costs every transaction anew
        if queued = 200 or queued > 0 and pg_try_advisory_lock_shared(1885827938, 1) then
            if queued = 200 then
                begin
                    insert into pgsbert.pending_2 as p (k1, k2, revision) select n.c2, n.c1, nextval('pgsbert.revision') from new_rows as n(c1, c2, c3) where (n.c3::text collate "C" <> '') and true offset 200;
                exception when unique_violation then
                    insert into pgsbert.pending_2 as p (k1, k2, revision) select n.c2, n.c1, nextval('pgsbert.revision') from new_rows as n(c1, c2, c3) where (n.c3::text collate "C" <> '') and true offset 200 on conflict (k1, k2) do update set revision = excluded.revision;
                end;
            else
                perform pg_advisory_unlock_shared(1885827938, 1);
            end if;
            perform pgsbert.wake();
        end if;
        return null;
    end if;
    
    statement := pgsbert.enqueue_anew(2, 'insert');
    if statement is not null then
        execute statement;
        perform pgsbert.wake();
    end if;
    return null;
end;
$$;


ALTER FUNCTION pgsbert.enqueue_2_insert() OWNER TO postgres;

--
-- Name: FUNCTION enqueue_2_insert(); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.enqueue_2_insert() IS 'A trigger function of vectorizer page';


--
-- Name: enqueue_2_truncate(); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.enqueue_2_truncate() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
    statement text;
begin
    if has_column_privilege(tg_relid, 1::smallint, 'select') is not null and has_column_privilege(tg_relid, 2::smallint, 'select') is not null and has_column_privilege(tg_relid, 3::smallint, 'select') is not null and pg_relation_filenode(17187::oid) is not null and to_regclass('public.page_embedding') = 17227::oid and has_table_privilege(17227::oid, 'delete') and (select count(*) from pg_attribute where attrelid = 17227 and attname = any ('{nr,lang}')) = 2 then
        delete from pgsbert.pending_2; delete from public.page_embedding;
    else
        statement := pgsbert.enqueue_anew(2, 'truncate');
        if statement is not null then
            execute statement;
        end if;
    end if;
    
    return null;
end;
$$;


ALTER FUNCTION pgsbert.enqueue_2_truncate() OWNER TO postgres;

--
-- Name: FUNCTION enqueue_2_truncate(); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.enqueue_2_truncate() IS 'A trigger function of vectorizer page';


--
-- Name: enqueue_2_update(); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.enqueue_2_update() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET enable_nestloop TO 'off'
    AS $$
declare
    statement text;
    queued bigint;
    gone bigint;
    cleared record;
begin
    if has_column_privilege(tg_relid, 1::smallint, 'select') is not null and has_column_privilege(tg_relid, 2::smallint, 'select') is not null and has_column_privilege(tg_relid, 3::smallint, 'select') is not null and pg_relation_filenode(17187::oid) is not null and to_regclass('public.page_embedding') = 17227::oid and has_table_privilege(17227::oid, 'delete') and (select count(*) from pg_attribute where attrelid = 17227 and attname = any ('{nr,lang}')) = 2 then
        with diff as materialized (select n.c2 as new_1, o.c2 as old_1, n.c1 as new_2, o.c1 as old_2 from new_rows as n(c1, c2, c3) full join old_rows as o(c1, c2, c3) on o.c2 operator(pg_catalog.=) n.c2 and o.c1 operator(pg_catalog.=) n.c1 where n.c2 is not distinct from null or coalesce(n.c3::text collate "C", '') <> coalesce(o.c3::text collate "C", '')), queued as (insert into pgsbert.pending_2 as p (k1, k2, revision) select new_1, new_2, nextval('pgsbert.revision') from diff where new_1 is distinct from null and new_2 is distinct from null on conflict (k1, k2) do update set revision = excluded.revision returning 1) select (select count(*) from queued), (select count(*) from diff where new_1 is not distinct from null) into queued, gone;
    else
        
        statement := pgsbert.enqueue_anew(2, 'update');
        if statement is null then
            return null;
        end if;
        execute statement into queued, gone;
    end if;
    if gone > 0 then
        statement := pgsbert.enqueue_anew(2, 'rekey');
        if statement is not null then
            begin
            execute statement;
            
        if current_setting('transaction_isolation') not like 'read%' then
            execute pgsbert.enqueue_anew(2, 'requeue rekey');
        end if;
    exception when serialization_failure then
        for cleared in execute pgsbert.enqueue_anew(2, 'gone rekey') loop
            perform pgsbert.leave_to_worker(2, cleared.key);
        end loop;
    end;
    if current_setting('transaction_isolation') not like 'read%' then
        perform pgsbert.wake();
    end if;
            -- a row that took another's key may have its text and yet no vector: queue them all
            execute pgsbert.enqueue_anew(2, 'insert');
        end if;
    end if;
    
    if queued > 0 then
        statement := pgsbert.enqueue_anew(2, 'unside');
        -- one by one, so that each is found by key whatever the side table's size
        for cleared in execute coalesce(pgsbert.enqueue_anew(2, 'cleared'), 'select where false') loop
            if current_setting('transaction_isolation') like 'read%' then
                execute statement using cleared.k1, cleared.k2;
            else
                begin
                    execute statement using cleared.k1, cleared.k2;
                exception when serialization_failure then
                    -- settled after this transaction's snapshot; it is queued, so the worker clears it
                    null;
                end;
            end if;
        end loop;
    end if;
    
    if queued > 0 and pg_try_advisory_lock_shared(1885827938, 1) then
        perform pg_advisory_unlock_shared(1885827938, 1);
        perform pgsbert.wake();
    end if;
    return null;
end;
$$;


ALTER FUNCTION pgsbert.enqueue_2_update() OWNER TO postgres;

--
-- Name: FUNCTION enqueue_2_update(); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.enqueue_2_update() IS 'A trigger function of vectorizer page';


--
-- Name: enqueue_3_delete(); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.enqueue_3_delete() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET enable_seqscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    AS $$
declare
    statement text;
    cleared record;
begin
    
    if has_column_privilege(tg_relid, 1::smallint, 'select') is not null and has_column_privilege(tg_relid, 2::smallint, 'select') is not null and has_column_privilege(tg_relid, 3::smallint, 'select') is not null and pg_relation_filenode(17260::oid) is not null and tg_relid = 17254::oid and pg_relation_filenode(tg_relid) = 17254::oid then
        delete from pgsbert.pending_3 as p using old_rows as o(c1, c2, c3) where p.k1 operator(pg_catalog.=) o.c1;
    else
        if not exists (select from pgsbert.vectorizer where id = 3 and source = tg_relid) then return null; end if;
        statement := pgsbert.enqueue_anew(3, 'delete');
        if statement is null then
            return null;
        end if;
        execute statement;
    end if;
    
    return null;
end;
$$;


ALTER FUNCTION pgsbert.enqueue_3_delete() OWNER TO postgres;

--
-- Name: FUNCTION enqueue_3_delete(); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.enqueue_3_delete() IS 'A trigger function of vectorizer quiet';


--
-- Name: enqueue_3_insert(); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.enqueue_3_insert() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
    statement text;
    queued bigint;
begin
    if has_column_privilege(tg_relid, 1::smallint, 'select') is not null and has_column_privilege(tg_relid, 2::smallint, 'select') is not null and has_column_privilege(tg_relid, 3::smallint, 'select') is not null and pg_relation_filenode(17260::oid) is not null and tg_relid = 17254::oid and pg_relation_filenode(tg_relid) = 17254::oid then
        insert into pgsbert.pending_3 as p (k1, revision) select n.c1, nextval('pgsbert.revision') from new_rows as n(c1, c2, c3) where (n.c2::text collate "C" <> '' or n.c3 is not null) and true limit 200 on conflict (k1) do update set revision = excluded.revision;
        get diagnostics queued = row_count;
        -- one expression where a worker is awake: each costs every transaction anew
        if queued = 200 or queued > 0 and pg_try_advisory_lock_shared(1885827938, 1) then
            if queued = 200 then
                begin
                    insert into pgsbert.pending_3 as p (k1, revision) select n.c1, nextval('pgsbert.revision') from new_rows as n(c1, c2, c3) where (n.c2::text collate "C" <> '' or n.c3 is not null) and true offset 200;
                exception when unique_violation then
                    insert into pgsbert.pending_3 as p (k1, revision) select n.c1, nextval('pgsbert.revision') from new_rows as n(c1, c2, c3) where (n.c2::text collate "C" <> '' or n.c3 is not null) and true offset 200 on conflict (k1) do update set revision = excluded.revision;
                end;
            else
                perform pg_advisory_unlock_shared(1885827938, 1);
            end if;
            perform pgsbert.wake();
        end if;
        return null;
    end if;
    if not exists (select from pgsbert.vectorizer where id = 3 and source = tg_relid) then return null; end if;
    statement := pgsbert.enqueue_anew(3, 'insert');
    if statement is not null then
        execute statement;
        perform pgsbert.wake();
    end if;
    return null;
end;
$$;


ALTER FUNCTION pgsbert.enqueue_3_insert() OWNER TO postgres;

--
-- Name: FUNCTION enqueue_3_insert(); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.enqueue_3_insert() IS 'A trigger function of vectorizer quiet';


--
-- Name: enqueue_3_truncate(); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.enqueue_3_truncate() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
    statement text;
begin
    if true then
        delete from pgsbert.pending_3;
    else
        statement := pgsbert.enqueue_anew(3, 'truncate');
        if statement is not null then
            execute statement;
        end if;
    end if;
    perform pgsbert.refit(3);
    return null;
end;
$$;


ALTER FUNCTION pgsbert.enqueue_3_truncate() OWNER TO postgres;

--
-- Name: FUNCTION enqueue_3_truncate(); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.enqueue_3_truncate() IS 'A trigger function of vectorizer quiet';


--
-- Name: enqueue_3_update(); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.enqueue_3_update() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET enable_nestloop TO 'off'
    AS $$
declare
    statement text;
    queued bigint;
    gone bigint;
    cleared record;
begin
    if has_column_privilege(tg_relid, 1::smallint, 'select') is not null and has_column_privilege(tg_relid, 2::smallint, 'select') is not null and has_column_privilege(tg_relid, 3::smallint, 'select') is not null and pg_relation_filenode(17260::oid) is not null and tg_relid = 17254::oid and pg_relation_filenode(tg_relid) = 17254::oid then
        with diff as materialized (select n.c1 as new_1, o.c1 as old_1 from new_rows as n(c1, c2, c3) full join old_rows as o(c1, c2, c3) on o.c1 operator(pg_catalog.=) n.c1 where n.c1 is not distinct from null or coalesce(n.c2::text collate "C", '') <> coalesce(o.c2::text collate "C", '')), queued as (insert into pgsbert.pending_3 as p (k1, revision) select new_1, nextval('pgsbert.revision') from diff where new_1 is distinct from null on conflict (k1) do update set revision = excluded.revision returning 1) select (select count(*) from queued), (select count(*) from diff where new_1 is not distinct from null) into queued, gone;
    else
        if not exists (select from pgsbert.vectorizer where id = 3 and source = tg_relid) then return null; end if;
        statement := pgsbert.enqueue_anew(3, 'update');
        if statement is null then
            return null;
        end if;
        execute statement into queued, gone;
    end if;
    if gone > 0 then
        statement := pgsbert.enqueue_anew(3, 'rekey');
        if statement is not null then
            
            execute statement;
            
            -- a row that took another's key may have its text and yet no vector: queue them all
            execute pgsbert.enqueue_anew(3, 'insert');
        end if;
    end if;
    
    
    if queued > 0 and pg_try_advisory_lock_shared(1885827938, 1) then
        perform pg_advisory_unlock_shared(1885827938, 1);
        perform pgsbert.wake();
    end if;
    return null;
end;
$$;


ALTER FUNCTION pgsbert.enqueue_3_update() OWNER TO postgres;

--
-- Name: FUNCTION enqueue_3_update(); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.enqueue_3_update() IS 'A trigger function of vectorizer quiet';


--
-- Name: enqueue_anew(integer, text); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.enqueue_anew(vectorizer_id integer, operation text) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
    v pgsbert.vectorizer;
    reason text;
begin
    select * into v from pgsbert.vectorizer where id = vectorizer_id;
    if not found then
        -- a dump of the schema alone was restored: the triggers are there, and what they served is not
        return null;
    end if;
    v := pgsbert.recognized(v);
    reason := pgsbert.broken_by(v);
    if reason is not null then
        -- the user's write goes on; what cannot be embedded any more is said in pgsbert.status
        -- and nobody waits for this mark, nor fails by it: workers look as well
        if current_setting('transaction_isolation') like 'read%' then
            perform from pgsbert.vectorizer as w where w.id = v.id and w.broken_reason is null for no key update skip locked;
            if found then
                perform pgsbert.mark_broken(v.id, reason);
            end if;
        end if;
        return null;
    end if;
    if v.side is not null and not has_table_privilege(pgsbert.trigger_owner(v), v.side, 'delete') then
        -- the side table was given to another, and the functions not yet: the worker removes what must go
        case operation
        when 'unside', 'cleared' then
            return null;
        when 'rekey', 'delete' then
            return pgsbert.enqueue_sql(v, 'requeue ' || operation);
        when 'truncate' then
            execute pgsbert.enqueue_sql(v, 'requeue side');
            return null;
        else
            v.side := null;
        end case;
    end if;
    return pgsbert.enqueue_sql(v, operation);
end;
$$;


ALTER FUNCTION pgsbert.enqueue_anew(vectorizer_id integer, operation text) OWNER TO postgres;

--
-- Name: FUNCTION enqueue_anew(vectorizer_id integer, operation text); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.enqueue_anew(vectorizer_id integer, operation text) IS 'The statement for a table whose columns moved since the trigger functions were made; null, and broken, if a needed one is gone';


--
-- Name: enqueue_row_sql(pgsbert.vectorizer, text, text); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.enqueue_row_sql(v pgsbert.vectorizer, operation text, row_alias text) RETURNS text
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    RETURN (SELECT CASE enqueue_row_sql.operation WHEN 'row insert'::text THEN format('insert into pgsbert.pending_%1$s (%2$s, revision) values (%3$s, nextval(''pgsbert.revision'')) on conflict (%2$s) do update set revision = excluded.revision'::text, (enqueue_row_sql.v).id, string_agg(('k'::text || k.place), ', '::text ORDER BY k.place), string_agg(format('%s.%I'::text, enqueue_row_sql.row_alias, k.name), ', '::text ORDER BY k.place)) WHEN 'row requeue'::text THEN format('insert into pgsbert.pending_%1$s (%2$s, revision) values (%3$s, nextval(''pgsbert.revision'')) on conflict (%2$s) do nothing'::text, (enqueue_row_sql.v).id, string_agg(('k'::text || k.place), ', '::text ORDER BY k.place), string_agg(format('%s.%I'::text, enqueue_row_sql.row_alias, k.name), ', '::text ORDER BY k.place)) WHEN 'row delete'::text THEN format('delete from pgsbert.pending_%s as p where %s'::text, (enqueue_row_sql.v).id, string_agg(format('p.k%s %s %s.%I'::text, k.place, k.operator, enqueue_row_sql.row_alias, k.name), ' and '::text ORDER BY k.place)) WHEN 'row unside'::text THEN format('delete from %s as t where %s'::text, (enqueue_row_sql.v).side, string_agg(format('t.%I %s %s.%I'::text, a.attname, k.operator, enqueue_row_sql.row_alias, k.name), ' and '::text ORDER BY k.place)) WHEN 'row key'::text THEN format('select array[%s]'::text, string_agg(format('format(''%%s'', %s.%I)'::text, enqueue_row_sql.row_alias, k.name), ', '::text ORDER BY k.place)) ELSE NULL::text END AS "case" FROM (pgsbert.key_columns(pgsbert.key_index(((enqueue_row_sql.v).source)::oid)) k(place, number, name, operator) LEFT JOIN pg_attribute a ON (((a.attrelid = ((enqueue_row_sql.v).side)::oid) AND (a.attnum = k.place)))));


ALTER FUNCTION pgsbert.enqueue_row_sql(v pgsbert.vectorizer, operation text, row_alias text) OWNER TO postgres;

--
-- Name: FUNCTION enqueue_row_sql(v pgsbert.vectorizer, operation text, row_alias text); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.enqueue_row_sql(v pgsbert.vectorizer, operation text, row_alias text) IS 'The statement a row trigger runs for one row, by the names of the key now: new, old, or a parameter';


--
-- Name: enqueue_sql(pgsbert.vectorizer, text); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.enqueue_sql(v pgsbert.vectorizer, operation text) RETURNS text
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
declare
    pending text := format('pgsbert.pending_%s', v.id);
    columns text := (select string_agg('c' || number, ', ') from pgsbert.live_columns(v));
    key_count int := cardinality(v.key_numbers);
    keys text := (select string_agg('k' || i, ', ') from generate_series(1, key_count) as i);
    new_keys text := (select string_agg('n.c' || number, ', ' order by i) from unnest(v.key_numbers) with ordinality as k(number, i));
    as_keys text := (
        select string_agg(format('n.c%s as k%s', number, i), ', ' order by i)
        from unnest(v.key_numbers) with ordinality as k(number, i)
    );
    gone text;
    named_keys text := (
        select string_agg(format('n.c%1$s as new_%2$s, o.c%1$s as old_%2$s', number, i), ', ' order by i)
        from unnest(v.key_numbers) with ordinality as k(number, i)
    );
    same_key text := (
        select string_agg(format('o.c%s %s n.c%s', k.number, k.operator, k.number), ' and ' order by k.place)
        from pgsbert.key_columns(pgsbert.key_index(v.source)) as k
    );
    has_text text := (
        -- null where there is none; comparing with '' does not fetch a toasted text, since the lengths differ
        select string_agg(format('%s collate "C" <> ''''', pgsbert.text_of(v.source, number, 'n')), ' or ' order by i)
        from unnest(v.column_numbers) with ordinality as c(number, i)
    );
    -- a vector that came with a row without text must go; the worker takes it
    is_wanted text := has_text || coalesce(' or n.c' || v.target_number || ' is not null', '');
    has_key text := case when (select indisprimary from pg_index where indexrelid = pgsbert.key_index(v.source)) then 'true' else (
        -- NOT NULL may be dropped from a unique column: such a row cannot be named, and its writer must not fail
        -- (IS NOT NULL would be false for a composite with one null in it)
        select string_agg(format('n.c%s is distinct from null', number), ' and ' order by i)
        from unnest(v.key_numbers) with ordinality as k(number, i)
    ) end;
    changed text := (
        -- bytes decide: a collation may call different texts equal; NULL and '' are the same text to us
        select string_agg(
            format(
                'coalesce(%s collate "C", '''') <> coalesce(%s collate "C", '''')',
                pgsbert.text_of(v.source, number, 'n'), pgsbert.text_of(v.source, number, 'o')
            ),
            ' or ' order by i
        )
        from unnest(v.column_numbers) with ordinality as c(number, i)
    );
    dequeue text := format(
        'delete from %s as p using %%s where %s',
        pending,
        (select string_agg(format('p.k%s %s o.c%s', k.place, k.operator, k.number), ' and ' order by k.place)
         from pgsbert.key_columns(pgsbert.key_index(v.source)) as k)
    );
    upsert text := format('on conflict (%s) do update set revision = excluded.revision', keys);
    dequeue_side text := '';
    old_keys text := (select string_agg('o.c' || number, ', ' order by i) from unnest(v.key_numbers) with ordinality as k(number, i));
    key_texts text := (
        select string_agg(format('format(''%%s'', o.c%s)', number), ', ' order by i) from unnest(v.key_numbers) with ordinality as k(number, i)
    );
begin
    if operation like 'row %' then
        return pgsbert.enqueue_row_sql(v, operation, '($1)');
    elsif operation like '%rekey' then
        gone := format(
            '(select o.* from old_rows as o(%s) where not exists (select from new_rows as n(%s) where %s)) as o',
            columns, columns, same_key
        );
    elsif operation like '%delete' then
        gone := format('old_rows as o(%s)', columns);
    end if;
    if v.side is not null then
        dequeue_side := format('; delete from %s as t using %s where %s', v.side, gone, pgsbert.side_match_by_number(v, 't', 'o'));
    end if;
    case operation
    when 'insert' then
        return format(
            'insert into %s as p (%s, revision) select %s, nextval(''pgsbert.revision'') from new_rows as n(%s) where (%s) and %s %s',
            pending, keys, new_keys, columns, is_wanted, has_key, upsert
        );
    when 'insert_first' then
        return format(
            'insert into %s as p (%s, revision) select %s, nextval(''pgsbert.revision'') from new_rows as n(%s) where (%s) and %s limit 200 %s',
            pending, keys, new_keys, columns, is_wanted, has_key, upsert
        );
    when 'insert_rest' then
        -- a key that was just inserted is hardly ever queued already, and a plain insert costs two thirds
        return format(
            'insert into %s as p (%s, revision) select %s, nextval(''pgsbert.revision'') from new_rows as n(%s) where (%s) and %s offset 200',
            pending, keys, new_keys, columns, is_wanted, has_key
        );
    when 'insert_rest_again' then
        return pgsbert.enqueue_sql(v, 'insert_rest') || ' ' || upsert;
    when 'update' then
        return format(
            'with diff as materialized ('
            'select %s from new_rows as n(%s) full join old_rows as o(%s) on %s '
            'where n.c%s is not distinct from null or %s'
            '), queued as ('
            'insert into %s as p (%s, revision) select %s, nextval(''pgsbert.revision'') from diff where %s %s returning 1'
            ') select (select count(*) from queued), (select count(*) from diff where new_1 is not distinct from null)',
            named_keys, columns, columns, same_key,
            v.key_numbers[1], changed,
            pending, keys, (select string_agg('new_' || i, ', ') from generate_series(1, key_count) as i),
            (select string_agg(format('new_%s is distinct from null', i), ' and ') from generate_series(1, key_count) as i), upsert
        );
    when 'requeue rekey', 'requeue delete' then
        return format(
            'insert into %s (%s, revision) select %s, nextval(''pgsbert.revision'') from %s on conflict (%s) do nothing',
            pending, keys, old_keys, gone, keys
        );
    when 'requeue side' then
        return format(
            'insert into %s (%s, revision) select %s, nextval(''pgsbert.revision'') from %s as t on conflict (%s) do nothing',
            pending, keys,
            (select string_agg(format('t.%I', a.attname), ', ' order by a.attnum) from pg_attribute as a where a.attrelid = v.side and a.attnum between 1 and key_count),
            v.side, keys
        );
    when 'gone rekey', 'gone delete' then
        return format('select array[%s] as key from %s', key_texts, gone);
    when 'unside' then
        return format(
            'delete from %s as t where %s', v.side,
            (select string_agg(format('t.%I %s $%s', a.attname, k.operator, k.place), ' and ' order by k.place)
             from pgsbert.key_columns(pgsbert.key_index(v.source)) as k
             join pg_attribute as a on a.attrelid = v.side and a.attnum = k.place)
        );
    when 'rekey', 'delete' then
        return format(dequeue, gone) || dequeue_side;
    when 'truncate' then
        -- DELETE: a TRUNCATE of the side table would deadlock with an index that is being built on it
        return format('delete from %s', pending) || case when v.side is not null then format('; delete from %s', v.side) else '' end;
    when 'cleared' then
        -- keys whose vector must go in the user's own transaction
        if v.on_change = 'clear' then
            return format(
                'select %s from new_rows as n(%s) join old_rows as o(%s) on %s where %s',
                as_keys, columns, columns, same_key, changed
            );
        end if;
        return format('select %s from new_rows as n(%s) where (%s) is not true', as_keys, columns, has_text);
    end case;
end;
$_$;


ALTER FUNCTION pgsbert.enqueue_sql(v pgsbert.vectorizer, operation text) OWNER TO postgres;

--
-- Name: FUNCTION enqueue_sql(v pgsbert.vectorizer, operation text); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.enqueue_sql(v pgsbert.vectorizer, operation text) IS 'The statement a trigger runs on insert, update, rekey, delete or truncate of the source as it is now';


--
-- Name: failed_rows(); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.failed_rows() RETURNS TABLE(vectorizer text, key text[], attempts integer, error_class text, error text, failed_at timestamp with time zone)
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
#variable_conflict use_column
declare
    v pgsbert.vectorizer;
begin
    for v in
        select * from pgsbert.vectorizer
        -- keys and errors are about rows: for those who may read them; null where the table is gone
        where has_table_privilege(pgsbert.caller(), source, 'select') is not false
          and pgsbert.hidden_by(source, pg_get_userbyid(pgsbert.caller())) is null
        order by name
    loop
        return query execute format(
            'select %L, array[%s], l.attempts, l.error_class, l.error, l.failed_at from pgsbert.lease_%s as l where l.failed_at is not null',
            v.name,
            (select string_agg(format('format(''%%s'', l.k%s)', i), ', ') from generate_series(1, cardinality(v.key_numbers)) as i),
            v.id
        );
    end loop;
end;
$$;


ALTER FUNCTION pgsbert.failed_rows() OWNER TO postgres;

--
-- Name: FUNCTION failed_rows(); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.failed_rows() IS 'Rows that could not be embedded, with the reason, of tables that the caller may read';


--
-- Name: free_name(text, text[]); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.free_name(wanted text, taken text[]) RETURNS name
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
    candidate name := wanted::name;
    attempt integer := 1;
begin
    while candidate::text = any (taken) loop
        attempt := attempt + 1;
        candidate := left(wanted, 12) || '_' || attempt;
    end loop;
    return candidate;
end;
$$;


ALTER FUNCTION pgsbert.free_name(wanted text, taken text[]) OWNER TO postgres;

--
-- Name: FUNCTION free_name(wanted text, taken text[]); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.free_name(wanted text, taken text[]) IS 'A column name like the one wanted, cut to 63 bytes, that is not taken';


--
-- Name: functions_of(text); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.functions_of(level text) RETURNS SETOF regprocedure
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    BEGIN ATOMIC
 SELECT (p.oid)::regprocedure AS oid
    FROM (pg_proc p
      JOIN pg_namespace n ON (((n.oid = p.pronamespace) AND (n.nspname = 'pgsbert'::name))))
   WHERE ((p.proname = ANY (ARRAY['embed'::text, 'embed_for'::text, 'similarity'::text, 'rerank'::text, 'search'::text, 'similar_to'::text, 'check_text'::text, 'check_search'::text, 'check_reranker'::text, 'search_sql'::text, 'similar_sql'::text, 'find_vectorizer'::text, 'widen_scan'::text, 'narrow_scan'::text, 'wait_until_synced'::text, 'is_synced'::text, 'queue_state'::text, 'failed_rows'::text, 'leaf_partitions'::text])) OR ((functions_of.level = 'operator'::text) AND (p.proname = ANY (ARRAY['create_vectorizer'::text, 'drop_vectorizer'::text, 'pause_vectorizer'::text, 'resume_vectorizer'::text, 'refresh'::text, 'sweep'::text, 'retry_failures'::text, 'discard_failures'::text, 'vectorizer_exists'::text, 'is_vectorizer'::text, 'register_vectorizer'::text, 'build_vectorizer'::text, 'unregister_vectorizer'::text, 'register_side'::text, 'bi_encoder_named'::text, 'check_owner'::text, 'caller'::text, 'create_triggers'::text, 'create_row_triggers'::text, 'always_fire'::text, 'grant_to_worker'::text, 'create_side'::text, 'create_search'::text, 'search_body'::text, 'drop_search'::text, 'leave_table'::text, 'worker_columns'::text, 'is_ours'::text, 'made_for'::text, 'free_name'::text, 'neighbors_sql'::text, 'target_name'::text, 'vector_key'::text, 'key_columns'::text, 'key_index'::text, 'column_type'::text, 'vector_type'::text, 'vector_schema'::text, 'side_match'::text, 'announce'::text, 'limit_lock_waits'::text, 'raise_held'::text, 'orphans'::text, 'drop_orphans'::text]))));
END;


ALTER FUNCTION pgsbert.functions_of(level text) OWNER TO postgres;

--
-- Name: FUNCTION functions_of(level text); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.functions_of(level text) IS 'The functions that a reader or an operator may execute';


--
-- Name: gateway_address(); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.gateway_address() RETURNS text
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
    database text;
begin
    -- with a password: server and user mapping of the role that owns these functions
    select coalesce((select substr(o.option, 8) from unnest(s.srvoptions) as o (option) where o.option like 'dbname=%'), current_database())
    into database
    from pg_foreign_server as s
    where s.srvname = 'pgsbert_loopback';
    if database = current_database() then
        if not exists (select from pg_user_mappings where srvname = 'pgsbert_loopback' and usename in (current_user, 'public')) then
            raise exception using errcode = '08001',
                message = format('the gateway has no password for role "%s", which owns pgsbert now', current_user),
                hint = 'Run pgsbert gateway set-password.';
        end if;
        return 'pgsbert_loopback';
    elsif database is not null then
        raise exception using errcode = '08001',
            message = format('the gateway of this database leads to database "%s"', database),
            hint = 'The database was copied or renamed: run pgsbert gateway set-password.';
    elsif not (select rolsuper from pg_roles where rolname = current_user) then
        raise exception using errcode = '08001',
            message = 'the gateway has no password yet',
            hint = 'Run pgsbert gateway set-password.';
    end if;
    -- without: the server's own socket, as it is at this moment
    return format(
        'host=%s port=%s dbname=%s user=pgsbert_gateway connect_timeout=5 application_name=%s options=%s',
        pgsbert.conninfo_quoted(coalesce(nullif(trim(split_part(current_setting('unix_socket_directories'), ',', 1)), ''), 'localhost')),
        current_setting('port'),
        pgsbert.conninfo_quoted(current_database()),
        pgsbert.conninfo_quoted('pgsbert gateway'),
        pgsbert.conninfo_quoted(pgsbert.gateway_options())
    );
end;
$$;


ALTER FUNCTION pgsbert.gateway_address() OWNER TO postgres;

--
-- Name: FUNCTION gateway_address(); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.gateway_address() IS 'Where the loopback connection goes';


--
-- Name: gateway_options(); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.gateway_options() RETURNS text
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    RETURN format('-c statement_timeout=0 -c lock_timeout=0 -c idle_session_timeout=0 -c idle_in_transaction_session_timeout=0%s -c default_transaction_read_only=off -c default_transaction_isolation=read\ committed -c synchronous_commit=off -c local_preload_libraries= -c client_encoding=%s -c extra_float_digits=1 -c intervalstyle=postgres -c jit=off'::text, CASE WHEN (current_setting('transaction_timeout'::text, true) IS NOT NULL) THEN ' -c transaction_timeout=0'::text ELSE NULL::text END, current_setting('server_encoding'::text));


ALTER FUNCTION pgsbert.gateway_options() OWNER TO postgres;

--
-- Name: FUNCTION gateway_options(); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.gateway_options() IS 'The settings of a loopback session, whatever its role or database has';


--
-- Name: grant_to_owner(pgsbert.vectorizer); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.grant_to_owner(v pgsbert.vectorizer) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
    owner name := pg_get_userbyid(pgsbert.trigger_owner(v));
begin
    if pgsbert.owner_lacks_grants(v) is not true then
        return;
    end if;
    execute format('grant usage on schema pgsbert to %I', owner);
    execute format('grant usage on sequence pgsbert.revision to %I', owner);
    execute format('grant select, insert, update, delete on pgsbert.pending_%s to %I', v.id, owner);
    execute format(
        'grant execute on function pgsbert.wake(), pgsbert.enqueue_anew(integer, text), pgsbert.leave_to_worker(integer, text[]), '
        'pgsbert.vectorizer_numbered(integer), pgsbert.column_type(oid, smallint), pgsbert.key_columns(oid), pgsbert.key_index(oid) to %I',
        owner
    );
end;
$$;


ALTER FUNCTION pgsbert.grant_to_owner(v pgsbert.vectorizer) OWNER TO postgres;

--
-- Name: FUNCTION grant_to_owner(v pgsbert.vectorizer); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.grant_to_owner(v pgsbert.vectorizer) IS 'Gives the owner of a side table what its trigger functions need';


--
-- Name: grant_to_worker(pgsbert.vectorizer); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.grant_to_worker(v pgsbert.vectorizer) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
    readable text := (
        select string_agg(distinct quote_ident(name), ', ')
        from unnest(v.column_names || v.key_names || v.target) as name
        where v.storage = 'column' or name <> v.target
    );
    source_schema name := (select n.nspname from pg_class as c join pg_namespace as n on n.oid = c.relnamespace where c.oid = v.source);
begin
    execute format('grant select (%s) on %s to pgsbert_worker', readable, v.source);
    if v.storage = 'column' then
        execute format('grant update (%I) on %s to pgsbert_worker', v.target, v.source);
    end if;
    if not has_schema_privilege('pgsbert_worker', source_schema, 'usage') then
        if (select pg_has_role(current_user, n.nspowner, 'usage') from pg_namespace as n where n.nspname = source_schema) then
            execute format('grant usage on schema %I to pgsbert_worker', source_schema);
        else
            raise notice 'the worker cannot enter schema %', source_schema
                using hint = format('Its owner must run: grant usage on schema %I to pgsbert_worker', source_schema);
        end if;
    end if;
end;
$$;


ALTER FUNCTION pgsbert.grant_to_worker(v pgsbert.vectorizer) OWNER TO postgres;

--
-- Name: FUNCTION grant_to_worker(v pgsbert.vectorizer); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.grant_to_worker(v pgsbert.vectorizer) IS 'Gives the worker what one vectorizer needs: key and tracked columns to read, the vector to write';


--
-- Name: grant_usage(text, text); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.grant_usage(role text, level text DEFAULT 'reader'::text) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
    routine regprocedure;
begin
    perform pgsbert.check_option('level', level, array['reader', 'operator']);
    perform pgsbert.check_role(role);
    execute format('grant usage on schema pgsbert to %I', role);
    execute format('grant select on pgsbert.status, pgsbert.failures, pgsbert.workers, pgsbert.models to %I', role);
    for routine in select f from pgsbert.functions_of(level) as f loop
        execute format('grant execute on routine %s to %I', routine, role);
    end loop;
end;
$$;


ALTER FUNCTION pgsbert.grant_usage(role text, level text) OWNER TO postgres;

--
-- Name: FUNCTION grant_usage(role text, level text); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.grant_usage(role text, level text) IS 'Lets a role search, embed and rerank (reader), or also make and steer vectorizers of its own tables (operator)';


--
-- Name: grant_usage_again(); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.grant_usage_again() RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
    holder record;
begin
    for holder in
        -- by a function that no upgrade has dropped: create_vectorizer got parameters
        select r.rolname as role, case when bool_or(p.proname = 'drop_vectorizer') then 'operator' else 'reader' end as level
        from pg_proc as p
        cross join aclexplode(p.proacl) as a
        join pg_roles as r on r.oid = a.grantee
        where p.pronamespace = 'pgsbert'::regnamespace and p.proname in ('embed', 'drop_vectorizer') and a.grantee <> p.proowner
        group by r.rolname
    loop
        perform pgsbert.grant_usage(holder.role, holder.level);
    end loop;
end;
$$;


ALTER FUNCTION pgsbert.grant_usage_again() OWNER TO postgres;

--
-- Name: FUNCTION grant_usage_again(); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.grant_usage_again() IS 'After an upgrade: readers and operators may execute what is new';


--
-- Name: halt_index_builds(oid); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.halt_index_builds(source oid) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
    vectorizer_id integer;
    builder record;
begin
    -- CREATE INDEX CONCURRENTLY waits for the snapshot of the statement that calls us, which would wait for its lock
    -- on the table: a deadlock. With the builders' lock held until commit, no new build begins either.
    for vectorizer_id in select v.id from pgsbert.vectorizer as v where v.source = halt_index_builds.source order by v.id loop
        while not pg_try_advisory_xact_lock(1885827940, vectorizer_id) loop
            for builder in
                select l.pid, a.usesysid as role
                from pg_locks as l
                join pg_database as d on d.oid = l.database and d.datname = current_database()
                join pg_stat_activity as a on a.pid = l.pid and a.application_name = 'pgsbert index'
                where l.locktype = 'advisory' and l.classid = 1885827940 and l.objid = vectorizer_id and l.granted
            loop
                if not pg_has_role(current_user, builder.role, 'usage') and not pg_has_role(current_user, 'pg_signal_backend', 'usage') then
                    raise exception using errcode = '55006',
                        message = format('a worker builds an index on %s, and %I may not end what the role %I does',
                                         halt_index_builds.source::regclass, current_user, pg_get_userbyid(builder.role)),
                        hint = format('Repeat this when it is built, or have an administrator run: grant %I to %I',
                                      pg_get_userbyid(builder.role), current_user);
                end if;
                perform pg_cancel_backend(builder.pid);
            end loop;
            perform pg_sleep(0.01);
        end loop;
    end loop;
end;
$$;


ALTER FUNCTION pgsbert.halt_index_builds(source oid) OWNER TO postgres;

--
-- Name: FUNCTION halt_index_builds(source oid); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.halt_index_builds(source oid) IS 'Ends what workers build on a table, until this transaction ends: its triggers and columns are about to change';


--
-- Name: hidden_by(oid, name); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.hidden_by(source oid, worker name) RETURNS text
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    RETURN (SELECT format('row security hides rows of %s from the worker''s role: alter role %I bypassrls'::text, (hidden_by.source)::regclass, hidden_by.worker) AS format FROM (pg_class c JOIN pg_roles r ON ((r.rolname = hidden_by.worker))) WHERE ((c.oid = hidden_by.source) AND c.relrowsecurity AND (NOT r.rolsuper) AND (NOT r.rolbypassrls) AND (c.relforcerowsecurity OR (NOT pg_has_role(r.oid, c.relowner, 'usage'::text)))));


ALTER FUNCTION pgsbert.hidden_by(source oid, worker name) OWNER TO postgres;

--
-- Name: FUNCTION hidden_by(source oid, worker name); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.hidden_by(source oid, worker name) IS 'Why a worker does not see every row of a table: what it cannot see it must not take for deleted';


--
-- Name: made_for(pgsbert.vectorizer); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.made_for(v pgsbert.vectorizer) RETURNS text
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    RETURN format('Made by pgsbert for "%s", vectorizer %s'::text, (v).name, (v).id);


ALTER FUNCTION pgsbert.made_for(v pgsbert.vectorizer) OWNER TO postgres;

--
-- Name: FUNCTION made_for(v pgsbert.vectorizer); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.made_for(v pgsbert.vectorizer) IS 'How the comments on what a vectorizer made beside its table end';


--
-- Name: is_ours(text, pgsbert.vectorizer); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.is_ours(comment text, v pgsbert.vectorizer) RETURNS boolean
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    RETURN COALESCE(("right"(comment, length(pgsbert.made_for(v))) = pgsbert.made_for(v)), false);


ALTER FUNCTION pgsbert.is_ours(comment text, v pgsbert.vectorizer) OWNER TO postgres;

--
-- Name: FUNCTION is_ours(comment text, v pgsbert.vectorizer); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.is_ours(comment text, v pgsbert.vectorizer) IS 'Whether a function or view with that comment was made for a vectorizer';


--
-- Name: is_synced(text); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.is_synced(name text) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
    v pgsbert.vectorizer := pgsbert.vectorizer_named(name);
    waiting boolean;
begin
    if v.broken_reason is not null then
        raise exception using errcode = 'PB008',
            message = format('vectorizer "%s" is broken: %s', v.name, v.broken_reason);
    elsif v.filled_at is null then
        return false;
    end if;
    execute format('select exists (select from pgsbert.pending_%s)', v.id) into waiting;
    return not waiting;
end;
$$;


ALTER FUNCTION pgsbert.is_synced(name text) OWNER TO postgres;

--
-- Name: FUNCTION is_synced(name text); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.is_synced(name text) IS 'Whether nothing of a vectorizer waits to be embedded';


--
-- Name: is_vectorizer(text); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.is_vectorizer(vectorizer_name text) RETURNS boolean
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    RETURN (EXISTS (SELECT FROM pgsbert.vectorizer WHERE (vectorizer.name = is_vectorizer.vectorizer_name)));


ALTER FUNCTION pgsbert.is_vectorizer(vectorizer_name text) OWNER TO postgres;

--
-- Name: FUNCTION is_vectorizer(vectorizer_name text); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.is_vectorizer(vectorizer_name text) IS 'Whether a vectorizer has that name';


--
-- Name: item_expression(pgsbert.vectorizer); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.item_expression(v pgsbert.vectorizer) RETURNS text
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    RETURN format('to_jsonb(s.*) - %L::text[]'::text, ARRAY(SELECT a.attname FROM pg_attribute a WHERE ((a.attrelid = ((item_expression.v).source)::oid) AND (a.atttypid = (pgsbert.vector_type())::oid) AND (NOT a.attisdropped))));


ALTER FUNCTION pgsbert.item_expression(v pgsbert.vectorizer) OWNER TO postgres;

--
-- Name: FUNCTION item_expression(v pgsbert.vectorizer); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.item_expression(v pgsbert.vectorizer) IS 'A row as jsonb, without its vectors';


--
-- Name: judge_vectorizers(); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.judge_vectorizers() RETURNS TABLE(name text, broken_reason text)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
#variable_conflict use_column
declare
    v pgsbert.vectorizer;
    gone text;
    reason text;
    worker name := (select r.rolname from pg_roles as r where r.oid = pgsbert.caller());
begin
    for v in select * from pgsbert.vectorizer loop
        v := pgsbert.recover(v);
        continue when v.id is null;
        gone := pgsbert.broken_by(v);
        perform pgsbert.mend_triggers(v, broken => gone is not null);
        reason := coalesce(gone, pgsbert.hidden_by(v.source, worker));
        continue when reason is not distinct from v.broken_reason;
        -- another worker may hold it, and finds the same
        perform from pgsbert.vectorizer as w where w.id = v.id for no key update skip locked;
        continue when not found;
        update pgsbert.vectorizer as w
        set broken_reason = reason,
            -- what changed while no statement could be made for the table was not queued: walk over it again
            filled_at = case when gone is null and v.broken_reason not like 'row security%' then null else w.filled_at end
        where w.id = v.id;
        if gone is null and v.broken_reason not like 'row security%' then
            execute format('delete from pgsbert.fill_%s', v.id);
        end if;
        return query select v.name, reason;
    end loop;
end;
$$;


ALTER FUNCTION pgsbert.judge_vectorizers() OWNER TO postgres;

--
-- Name: FUNCTION judge_vectorizers(); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.judge_vectorizers() IS 'Part of a worker''s look at the catalog: marks what is broken, and what is no longer; returns what changed';


--
-- Name: keeps_connection(); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.keeps_connection() RETURNS boolean
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    RETURN (current_setting('pgsbert.keep_connection'::text, true) IS DISTINCT FROM 'off'::text);


ALTER FUNCTION pgsbert.keeps_connection() OWNER TO postgres;

--
-- Name: FUNCTION keeps_connection(); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.keeps_connection() IS 'Whether the loopback connection outlives a question';


--
-- Name: key_order(oid); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.key_order(index_oid oid) RETURNS TABLE(place bigint, greater text, at_least text)
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    BEGIN ATOMIC
 SELECT k.place,
     format('operator(%I.%s)'::text, n.nspname, g.oprname) AS format,
     format('operator(%I.%s)'::text, n.nspname, l.oprname) AS format
    FROM ((((pg_index i
      CROSS JOIN LATERAL unnest((i.indclass)::oid[]) WITH ORDINALITY k(opclass, place))
      JOIN pg_operator g ON ((g.oid = pgsbert.opclass_operator(pgsbert.default_opclass(k.opclass), 5))))
      JOIN pg_operator l ON ((l.oid = pgsbert.opclass_operator(pgsbert.default_opclass(k.opclass), 4))))
      JOIN pg_namespace n ON ((n.oid = g.oprnamespace)))
   WHERE ((i.indexrelid = key_order.index_oid) AND (k.place <= i.indnkeyatts))
   ORDER BY k.place;
END;


ALTER FUNCTION pgsbert.key_order(index_oid oid) OWNER TO postgres;

--
-- Name: FUNCTION key_order(index_oid oid); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.key_order(index_oid oid) IS 'The operators that ORDER BY goes by on the columns of a key, wherever they live';


--
-- Name: leaf_partitions(oid); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.leaf_partitions(source oid) RETURNS regclass[]
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    RETURN (WITH RECURSIVE part AS (SELECT i.inhrelid AS oid FROM (pg_inherits i JOIN pg_class c_1 ON (((c_1.oid = i.inhparent) AND (c_1.relkind = 'p'::"char")))) WHERE (i.inhparent = leaf_partitions.source) UNION ALL SELECT i.inhrelid FROM ((part p_1 JOIN pg_class c_1 ON (((c_1.oid = p_1.oid) AND (c_1.relkind = 'p'::"char")))) JOIN pg_inherits i ON ((i.inhparent = p_1.oid)))) SELECT COALESCE(array_agg((c.oid)::regclass ORDER BY c.oid), '{}'::regclass[]) AS "coalesce" FROM (part p JOIN pg_class c ON (((c.oid = p.oid) AND (c.relkind <> 'p'::"char")))));


ALTER FUNCTION pgsbert.leaf_partitions(source oid) OWNER TO postgres;

--
-- Name: FUNCTION leaf_partitions(source oid); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.leaf_partitions(source oid) IS 'The partitions of a table that hold rows, at any depth; none for a plain table';


--
-- Name: leave_table(pgsbert.vectorizer); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.leave_table(v pgsbert.vectorizer) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
declare
    columns text := pgsbert.worker_columns(v);
    half_built regclass;
begin
    for half_built in
        select i.indexrelid
        from pg_index as i
        join pg_class as c on c.oid = i.indexrelid
        join pg_am as a on a.oid = c.relam and a.amname = 'hnsw'
        where i.indrelid = any (pgsbert.leaf_partitions(v.source) || v.source || v.side) and not i.indisvalid and pg_has_role(c.relowner, 'usage')
    loop
        execute format('drop index %s', half_built);
    end loop;
    if columns is not null then
        execute format('revoke select (%1$s), update (%1$s) on %2$s from pgsbert_worker', columns, v.source);
    end if;
end;
$_$;


ALTER FUNCTION pgsbert.leave_table(v pgsbert.vectorizer) OWNER TO postgres;

--
-- Name: FUNCTION leave_table(v pgsbert.vectorizer); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.leave_table(v pgsbert.vectorizer) IS 'Part of drop_vectorizer, with the caller''s rights: half-built indexes, and what grant_to_worker gave as far as no other vectorizer needs it';


--
-- Name: leave_to_worker(integer, text[]); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.leave_to_worker(vectorizer_id integer, key text[]) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
declare
    v pgsbert.vectorizer;
    pending regclass := to_regclass('pgsbert.pending_' || vectorizer_id);
    keys text;
    places text;
    statement text;
begin
    v := pgsbert.vectorizer_numbered(vectorizer_id);
    select
        string_agg('k' || k.place, ', ' order by k.place),
        string_agg(format('$1[%s]::%s', k.place, pgsbert.column_type(pending, k.place::smallint)), ', ' order by k.place)
    into keys, places
    from pgsbert.key_columns(pgsbert.key_index(v.source)) as k;
    foreach statement in array array[
        format('delete from %s where (%s) = (%s)', pending, keys, places),
        format(
            'delete from %s as t where %s', v.side,
            (select string_agg(format('t.%I %s $1[%s]::%s', a.attname, k.operator, k.place, pgsbert.column_type(pending, k.place::smallint)), ' and ')
             from pgsbert.key_columns(pgsbert.key_index(v.source)) as k
             join pg_attribute as a on a.attrelid = v.side and a.attnum = k.place)
        ),
        format('insert into %s (%s, revision) values (%s, nextval(''pgsbert.revision'')) on conflict (%s) do nothing', pending, keys, places, keys)
    ] loop
        begin
            execute statement using key;
        exception when serialization_failure then
            -- newer than the snapshot: already settled, or queued and the worker's to find
            null;
        end;
    end loop;
end;
$_$;


ALTER FUNCTION pgsbert.leave_to_worker(vectorizer_id integer, key text[]) OWNER TO postgres;

--
-- Name: FUNCTION leave_to_worker(vectorizer_id integer, key text[]); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.leave_to_worker(vectorizer_id integer, key text[]) IS 'Queues a key whose row is gone, where a REPEATABLE READ transaction may not remove its vector';


--
-- Name: limit_lock_waits(); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.limit_lock_waits() RETURNS text
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
    found_setting text := current_setting('lock_timeout');
begin
    -- Behind a waiting ALTER TABLE everybody queues who wants the table, readers too. Whoever set a limit knows why.
    if found_setting = '0' then
        perform set_config('lock_timeout', '3s', true);
    end if;
    return found_setting;
end;
$$;


ALTER FUNCTION pgsbert.limit_lock_waits() OWNER TO postgres;

--
-- Name: FUNCTION limit_lock_waits(); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.limit_lock_waits() IS 'Lets no lock be waited for longer than 3 s where the session has no lock_timeout; returns what it had';


--
-- Name: live_columns(pgsbert.vectorizer); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.live_columns(v pgsbert.vectorizer) RETURNS TABLE(number smallint)
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    BEGIN ATOMIC
 SELECT a.attnum
    FROM pg_attribute a
   WHERE ((a.attrelid = ((live_columns.v).source)::oid) AND (a.attnum > 0) AND (NOT a.attisdropped) AND (a.attnum <= ( SELECT max(u.needed) AS max
            FROM unnest((((live_columns.v).column_numbers || (live_columns.v).key_numbers) || (live_columns.v).target_number)) u(needed))))
   ORDER BY a.attnum;
END;


ALTER FUNCTION pgsbert.live_columns(v pgsbert.vectorizer) OWNER TO postgres;

--
-- Name: FUNCTION live_columns(v pgsbert.vectorizer); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.live_columns(v pgsbert.vectorizer) IS 'Columns that a transition table shows, up to the last one needed';


--
-- Name: worker; Type: TABLE; Schema: pgsbert; Owner: postgres
--

CREATE TABLE pgsbert.worker (
    id integer NOT NULL,
    started_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    seen_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    host text NOT NULL,
    pid integer NOT NULL,
    version text NOT NULL,
    models jsonb DEFAULT '{}'::jsonb NOT NULL,
    rates jsonb DEFAULT '{}'::jsonb NOT NULL,
    listening boolean DEFAULT false NOT NULL,
    poll_only boolean DEFAULT false NOT NULL
);


ALTER TABLE pgsbert.worker OWNER TO postgres;

--
-- Name: TABLE worker; Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON TABLE pgsbert.worker IS 'Workers that are running, with their heartbeat, the models they found and their rows a second';


--
-- Name: COLUMN worker.poll_only; Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON COLUMN pgsbert.worker.poll_only IS 'It holds no lock and does not listen: only its heartbeat tells that it lives';


--
-- Name: live_worker_seen(); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.live_worker_seen() RETURNS timestamp with time zone
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    RETURN (SELECT max(worker.seen_at) AS max FROM pgsbert.worker WHERE (worker.seen_at > (clock_timestamp() - '00:00:15'::interval)));


ALTER FUNCTION pgsbert.live_worker_seen() OWNER TO postgres;

--
-- Name: FUNCTION live_worker_seen(); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.live_worker_seen() IS 'The last heartbeat of a worker, null if none was seen for 15 seconds';


--
-- Name: make_trigger_function(pgsbert.vectorizer, text, text, text); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.make_trigger_function(v pgsbert.vectorizer, function_name text, settings text, body text) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
    signature text := format('pgsbert.%I()', function_name);
    owner name := (select pg_get_userbyid(relowner) from pg_class where oid = v.source);
    may_create boolean;
begin
    -- the body as a literal: there may be a name in it that ends any dollar quote
    execute format(
        'create or replace function %s returns trigger language plpgsql %s set search_path = pg_catalog, pg_temp %s as %L',
        -- it touches the row alone, whose types may be the owner's, with checks of theirs
        signature, case when function_name like 'clear%' and v.side is null then 'security invoker' else 'security definer' end, settings, body
    );
    -- A new function is everybody's: on a table of his own, a stranger could fill this queue through it. The owner
    -- needs it once, to make the triggers.
    execute format('revoke all on function %s from public', signature);
    execute format('grant execute on function %s to %I', signature, owner);
    if v.side is not null then
        -- Deleting from the side table runs whatever its owner put on it: with the owner's rights, not the installer's.
        owner := (select pg_get_userbyid(relowner) from pg_class where oid = v.side);
        -- The new owner of a function must be allowed to make one here, unless a superuser gives it.
        may_create := has_schema_privilege(owner, 'pgsbert', 'create');
        if not may_create then
            execute format('grant create on schema pgsbert to %I', owner);
        end if;
        execute format('alter function %s owner to %I', signature, owner);
        if not may_create then
            execute format('revoke create on schema pgsbert from %I', owner);
        end if;
    end if;
    execute format('comment on function %s is %L', signature, 'A trigger function of vectorizer ' || v.name);
end;
$$;


ALTER FUNCTION pgsbert.make_trigger_function(v pgsbert.vectorizer, function_name text, settings text, body text) OWNER TO postgres;

--
-- Name: FUNCTION make_trigger_function(v pgsbert.vectorizer, function_name text, settings text, body text); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.make_trigger_function(v pgsbert.vectorizer, function_name text, settings text, body text) IS 'Makes one trigger function of a vectorizer';


--
-- Name: mark_broken(integer, text); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.mark_broken(vectorizer_id integer, reason text) RETURNS void
    LANGUAGE sql
    SET search_path TO 'pg_catalog', 'pg_temp'
    BEGIN ATOMIC
 UPDATE pgsbert.vectorizer SET broken_reason = mark_broken.reason
   WHERE ((vectorizer.id = mark_broken.vectorizer_id) AND (vectorizer.broken_reason IS DISTINCT FROM mark_broken.reason));
END;


ALTER FUNCTION pgsbert.mark_broken(vectorizer_id integer, reason text) OWNER TO postgres;

--
-- Name: FUNCTION mark_broken(vectorizer_id integer, reason text); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.mark_broken(vectorizer_id integer, reason text) IS 'Stops the claims of a vectorizer and says why in pgsbert.status';


--
-- Name: mend_triggers(pgsbert.vectorizer, boolean); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.mend_triggers(v pgsbert.vectorizer, broken boolean) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
    unfit boolean := not broken and pgsbert.triggers_fit(v) is false;
begin
    if not unfit and pgsbert.owner_lacks_grants(v) is not true then
        return;
    end if;
    -- whoever drops the vectorizer, or mends it in another worker, holds its row
    perform from pgsbert.vectorizer as w where w.id = v.id for no key update skip locked;
    if found and unfit then
        perform pgsbert.create_trigger_functions(v);
    elsif found then
        perform pgsbert.grant_to_owner(v);
    end if;
exception when others then
    -- Somebody changes the same functions or grants, or this installer may not. Writers lose only time by it, and the
    -- next look tries again.
    raise log 'pgsbert: the trigger functions of vectorizer "%" were not made anew: %', v.name, sqlerrm;
end;
$$;


ALTER FUNCTION pgsbert.mend_triggers(v pgsbert.vectorizer, broken boolean) OWNER TO postgres;

--
-- Name: FUNCTION mend_triggers(v pgsbert.vectorizer, broken boolean); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.mend_triggers(v pgsbert.vectorizer, broken boolean) IS 'Makes the trigger functions of a vectorizer anew if its tables changed since: columns, key, place or owner';


--
-- Name: model_for(text, text); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.model_for(kind text, model text) RETURNS pgsbert.model
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
    wanted text := case kind when 'embed' then 'bi-encoder' else 'cross-encoder' end;
    m pgsbert.model;
begin
    select * into m from pgsbert.model as r
    where r.name = model_for.model or (model_for.model is null and r.is_default and r.kind = wanted);
    if not found and model_for.model is null and kind = 'rerank' then
        raise exception using errcode = 'PB005',
            message = 'no reranker: run pgsbert model add cross-encoder/ms-marco-MiniLM-L6-v2',
            hint = 'Reranking needs a cross-encoder; embeddings do not replace it.';
    elsif not found then
        raise exception using errcode = 'PB003',
            message = case when model_for.model is null then 'no default bi-encoder is registered'
                           else format('no model is registered as "%s"', model_for.model) end,
            hint = format('Register it: pgsbert model add %s', coalesce(model_for.model, 'all-MiniLM-L6-v2'));
    elsif m.kind <> wanted then
        raise exception using errcode = 'PB004',
            message = format('"%s" is a %s: to %s, a %s is needed', m.name, m.kind, kind, wanted);
    end if;
    return m;
end;
$$;


ALTER FUNCTION pgsbert.model_for(kind text, model text) OWNER TO postgres;

--
-- Name: FUNCTION model_for(kind text, model text); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.model_for(kind text, model text) IS 'The registered model that answers a question of a kind, the default for null; PB003, PB004 or PB005';


--
-- Name: names_of(pgsbert.vectorizer); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.names_of(v pgsbert.vectorizer) RETURNS text
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    RETURN concat_ws(' '::text, (v).source, (v).side, (SELECT array_agg(a.attname ORDER BY (a.attrelid = ((names_of.v).source)::oid), a.attnum) AS array_agg FROM pg_attribute a WHERE ((NOT a.attisdropped) AND (((a.attrelid = ((names_of.v).source)::oid) AND (a.attnum = ANY ((((names_of.v).column_numbers || (names_of.v).key_numbers) || (names_of.v).target_number)))) OR ((a.attrelid = ((names_of.v).side)::oid) AND ((a.attnum >= 1) AND (a.attnum <= (cardinality((names_of.v).key_numbers) + 1))))))));


ALTER FUNCTION pgsbert.names_of(v pgsbert.vectorizer) OWNER TO postgres;

--
-- Name: FUNCTION names_of(v pgsbert.vectorizer); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.names_of(v pgsbert.vectorizer) IS 'What everything that a worker names is called now';


--
-- Name: names_of(oid, smallint[], name[]); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.names_of(relation oid, numbers smallint[], known name[]) RETURNS name[]
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    RETURN (SELECT array_agg(COALESCE(a.attname, u.name) ORDER BY u.place) AS array_agg FROM (UNNEST(names_of.numbers, names_of.known) WITH ORDINALITY u(number, name, place) LEFT JOIN pg_attribute a ON (((a.attrelid = names_of.relation) AND (a.attnum = u.number) AND (NOT a.attisdropped)))));


ALTER FUNCTION pgsbert.names_of(relation oid, numbers smallint[], known name[]) OWNER TO postgres;

--
-- Name: FUNCTION names_of(relation oid, numbers smallint[], known name[]); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.names_of(relation oid, numbers smallint[], known name[]) IS 'The names of columns by attnum, the known one where a column was dropped';


--
-- Name: narrow_scan(text, text); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.narrow_scan(ef_search text, iterative_scan text) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
    perform set_config('hnsw.ef_search', ef_search, true), set_config('hnsw.iterative_scan', iterative_scan, true);
end;
$$;


ALTER FUNCTION pgsbert.narrow_scan(ef_search text, iterative_scan text) OWNER TO postgres;

--
-- Name: FUNCTION narrow_scan(ef_search text, iterative_scan text); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.narrow_scan(ef_search text, iterative_scan text) IS 'Puts back what widen_scan found';


--
-- Name: needs_worker(); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.needs_worker() RETURNS text
    LANGUAGE sql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    RETURN '0.1.0'::text;


ALTER FUNCTION pgsbert.needs_worker() OWNER TO postgres;

--
-- Name: FUNCTION needs_worker(); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.needs_worker() IS 'The oldest version of the package whose workers may work on this schema';


--
-- Name: neighbors_sql(pgsbert.vectorizer); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.neighbors_sql(v pgsbert.vectorizer) RETURNS text
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
declare
    vector_table regclass := coalesce(v.side, v.source);
    target name := pgsbert.target_name(v);
    keys name[];
    operators text[];
    taken text[];
    neighbor_keys name[] := '{}';
    distance name;
begin
    select array_agg(a.attname order by k.place), array_agg(k.operator order by k.place) into keys, operators
    from pgsbert.vector_key(v) as k
    join pg_attribute as a on a.attrelid = vector_table and a.attnum = k.number;
    distance := pgsbert.free_name('distance', keys::text[]);
    taken := keys::text[] || distance::text;
    for i in 1 .. cardinality(keys) loop
        neighbor_keys := neighbor_keys || pgsbert.free_name('neighbor_' || keys[i], taken);
        taken := taken || neighbor_keys[i]::text;
    end loop;
    return format(
        'select %1$s, %2$s, n.distance as %3$I from %4$s as o cross join lateral ('
        'select %5$s, (t.%6$I operator(%7$I.%8$s) o.%6$I)::float8 from %4$s as t '
        'where t.%6$I is not null and not (%9$s) order by t.%6$I operator(%7$I.%8$s) o.%6$I limit 10'
        ') as n (%10$s, distance) where o.%6$I is not null',
        (select string_agg(format('o.%I', name), ', ' order by i) from unnest(keys) with ordinality as u (name, i)),
        (select string_agg(format('n.k%s as %I', i, name), ', ' order by i) from unnest(neighbor_keys) with ordinality as u (name, i)),
        distance, vector_table,
        (select string_agg(format('t.%I', name), ', ' order by i) from unnest(keys) with ordinality as u (name, i)),
        target, pgsbert.vector_schema(),
        case v.distance when 'cosine' then '<=>' when 'l2' then '<->' else '<#>' end,
        (select string_agg(format('t.%1$I %2$s o.%1$I', name, operator), ' and ') from unnest(keys, operators) as u (name, operator)),
        (select string_agg('k' || i, ', ' order by i) from generate_series(1, cardinality(keys)) as i)
    );
end;
$_$;


ALTER FUNCTION pgsbert.neighbors_sql(v pgsbert.vectorizer) OWNER TO postgres;

--
-- Name: FUNCTION neighbors_sql(v pgsbert.vectorizer); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.neighbors_sql(v pgsbert.vectorizer) IS 'The query of <name>_neighbors: it binds key and vector columns only, so that other columns stay free';


--
-- Name: numbers_of(oid, name[]); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.numbers_of(relation oid, names name[]) RETURNS smallint[]
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    RETURN (SELECT array_agg(COALESCE(a.attnum, (0)::smallint) ORDER BY u.place) AS array_agg FROM (unnest(numbers_of.names) WITH ORDINALITY u(name, place) LEFT JOIN pg_attribute a ON (((a.attrelid = numbers_of.relation) AND (a.attname = u.name) AND (a.attnum > 0) AND (NOT a.attisdropped)))));


ALTER FUNCTION pgsbert.numbers_of(relation oid, names name[]) OWNER TO postgres;

--
-- Name: FUNCTION numbers_of(relation oid, names name[]); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.numbers_of(relation oid, names name[]) IS 'The attnums of columns by name, 0 where there is none';


--
-- Name: open_gateway(); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.open_gateway() RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
    reason text;
begin
    perform "public".dblink_connect('pgsbert', pgsbert.gateway_address());
exception when sqlclient_unable_to_establish_sqlconnection then
    get stacked diagnostics reason = pg_exception_detail;
    if reason = '' then
        raise;  -- by gateway_address, and clear
    end if;
    raise exception using errcode = '08001',
        message = format('the gateway could not log in: %s', trim(regexp_replace(reason, '\s+', ' ', 'g'))),
        hint = case
            when reason like '%password authentication failed%' then
                'Run pgsbert gateway set-password.'
            when reason like '%not permitted to log in%' then
                'Have an administrator run: alter role pgsbert_gateway login'
            when reason like '%pg_hba.conf%' then
                'Let pgsbert_gateway in by a line of pg_hba.conf: pgsbert install --print-dba-sql shows it.'
            when reason like '%too many connections%' or reason like '%connection slots%' then
                'Each session that embeds holds two connections: raise max_connections, or the connection limit of pgsbert_gateway.'
            else
                'Is the address right? pgsbert gateway set-password --host HOST --port PORT changes it.'
        end;
end;
$$;


ALTER FUNCTION pgsbert.open_gateway() OWNER TO postgres;

--
-- Name: FUNCTION open_gateway(); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.open_gateway() IS 'Opens the loopback connection, or says in one sentence why that is not possible';


--
-- Name: orphans(pgsbert.vectorizer); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.orphans(v pgsbert.vectorizer) RETURNS TABLE(kind text, name text)
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
#variable_conflict use_column
declare
    source_schema oid := (select c.relnamespace from pg_class as c where c.oid = v.source);
    side regclass := (
        select to_regclass(format('%I.%I', n.nspname, c.relname || '_' || v.target))
        from pg_class as c join pg_namespace as n on n.oid = c.relnamespace
        where c.oid = v.source
    );
    is_filled boolean;
begin
    return query
        select o.kind, o.name
        from (
            select 'function', p.oid::regprocedure::text, d.description, p.proowner
            from pg_proc as p join pg_description as d on d.classoid = 'pg_proc'::regclass and d.objoid = p.oid
            where p.pronamespace = source_schema and p.proname = v.name || '_search'
            union all
            select 'view', c.oid::regclass::text, d.description, c.relowner
            from pg_class as c join pg_description as d on d.classoid = 'pg_class'::regclass and d.objoid = c.oid and d.objsubid = 0
            where c.relnamespace = source_schema and c.relname = v.name || '_neighbors' and c.relkind = 'v'
        ) as o (kind, name, description, owner)
        where o.description ~ 'Made by pgsbert for ".*", vectorizer [0-9]+$' and pg_has_role(pgsbert.caller(), o.owner, 'usage')
          and not exists (select from pgsbert.vectorizer as w where w.id <> v.id and pgsbert.is_ours(o.description, w));
    -- empty: vectors that somebody kept are not ours to drop
    if v.storage = 'table' and side is not null
       and obj_description(side, 'pg_class') = format('Embeddings of %s, kept by pgsbert', v.source)
       and not exists (select from pgsbert.vectorizer as w where w.side = side) then
        execute format('select exists (select from %s)', side) into is_filled;
        if not is_filled then
            return query select 'table', side::text;
        end if;
    end if;
end;
$_$;


ALTER FUNCTION pgsbert.orphans(v pgsbert.vectorizer) OWNER TO postgres;

--
-- Name: FUNCTION orphans(v pgsbert.vectorizer); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.orphans(v pgsbert.vectorizer) IS 'What stands where a new vectorizer makes its own, and was made for one that is not in this database';


--
-- Name: trigger_owner(pgsbert.vectorizer); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.trigger_owner(v pgsbert.vectorizer) RETURNS oid
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    RETURN (SELECT p.proowner FROM pg_proc p WHERE (p.oid = (to_regprocedure(format('pgsbert.enqueue_%s_delete()'::text, (trigger_owner.v).id)))::oid));


ALTER FUNCTION pgsbert.trigger_owner(v pgsbert.vectorizer) OWNER TO postgres;

--
-- Name: FUNCTION trigger_owner(v pgsbert.vectorizer); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.trigger_owner(v pgsbert.vectorizer) IS 'With whose rights the trigger functions of a vectorizer run';


--
-- Name: owner_lacks_grants(pgsbert.vectorizer); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.owner_lacks_grants(v pgsbert.vectorizer) RETURNS boolean
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    RETURN (((v).side IS NOT NULL) AND (NOT (has_table_privilege(pgsbert.trigger_owner(v), format('pgsbert.pending_%s'::text, (v).id), 'insert'::text) AND has_schema_privilege(pgsbert.trigger_owner(v), 'pgsbert'::text, 'usage'::text))));


ALTER FUNCTION pgsbert.owner_lacks_grants(v pgsbert.vectorizer) OWNER TO postgres;

--
-- Name: FUNCTION owner_lacks_grants(v pgsbert.vectorizer); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.owner_lacks_grants(v pgsbert.vectorizer) IS 'Whether the trigger functions of a side table may not do what grant_to_owner lets them do';


--
-- Name: pause_vectorizer(text); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.pause_vectorizer(name text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
    v pgsbert.vectorizer := pgsbert.vectorizer_named(name);
begin
    perform pgsbert.check_owner(v.source);
    update pgsbert.vectorizer as w set paused = true where w.id = v.id;
    perform pgsbert.announce();
end;
$$;


ALTER FUNCTION pgsbert.pause_vectorizer(name text) OWNER TO postgres;

--
-- Name: FUNCTION pause_vectorizer(name text); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.pause_vectorizer(name text) IS 'Stops the claims; changes go on being queued';


--
-- Name: put(text, text, text, text[], interval); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.put(kind text, model text, query text, texts text[], patience interval) RETURNS uuid
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
    m pgsbert.model := pgsbert.model_for(kind, model);
    last_seen timestamptz;
    ticket uuid;
begin
    if statement_timestamp() <> transaction_timestamp() then
        -- The question would reach nobody. This error ends that transaction, so that the connection is opened anew.
        raise exception using errcode = '08000',
            message = 'the loopback connection was in a transaction that another role of this session had begun',
            hint = 'Repeat the question: the connection is opened anew.';
    elsif pgsbert.live_worker_seen() is null then
        select max(seen_at) into last_seen from pgsbert.worker;
        raise exception using errcode = 'PB001',
            message = case when last_seen is null then 'no worker has been seen: start one with pgsbert worker'
                           else format('no worker has been seen for %s: start one with pgsbert worker',
                                       date_trunc('second', clock_timestamp() - last_seen)) end;
    end if;
    insert into pgsbert.request as r (kind, model, query, texts, deadline)
    values (put.kind, m.name, put.query, put.texts, clock_timestamp() + least(patience, interval '1 hour'))
    returning r.token into ticket;
    perform pg_notify('pgsbert_request', '');
    return ticket;
end;
$$;


ALTER FUNCTION pgsbert.put(kind text, model text, query text, texts text[], patience interval) OWNER TO postgres;

--
-- Name: FUNCTION put(kind text, model text, query text, texts text[], patience interval); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.put(kind text, model text, query text, texts text[], patience interval) IS 'Puts a question to the workers; returns the token of its reply';


--
-- Name: queue_state(); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.queue_state() RETURNS TABLE(id integer, pending bigint, failed bigint, oldest_pending timestamp with time zone, passed bigint)
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
#variable_conflict use_column
declare
    v pgsbert.vectorizer;
begin
    for v in select * from pgsbert.vectorizer loop
        return query execute format(
            -- of a long queue only the first rows are looked at, for who asks may ask every second
            'select %1$s, case when count(*) <= 10000 then count(*) '
            'else greatest(count(*), pg_stat_get_live_tuples(''pgsbert.pending_%1$s''::regclass)) end, '
            '(select count(*) from pgsbert.lease_%1$s where failed_at is not null), '
            'min(queued_at), '
            'coalesce((select passed from pgsbert.fill_%1$s), 0) '
            'from (select queued_at from pgsbert.pending_%1$s limit 10001) as waiting',
            v.id
        );
    end loop;
end;
$_$;


ALTER FUNCTION pgsbert.queue_state() OWNER TO postgres;

--
-- Name: FUNCTION queue_state(); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.queue_state() IS 'How many rows of each vectorizer wait (above 10,000 an estimate), how many were given up, and how many the first fill has passed';


--
-- Name: raise_held(regclass); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.raise_held(source regclass) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
    holders text := (
        select string_agg(holder, ', ')
        from (
            select coalesce(
                format('process %s (%s%s)', a.pid, a.usename, ', in a transaction since ' || date_trunc('second', a.xact_start)),
                'a prepared transaction'
            ) as holder
            from (
                select distinct l.pid from pg_locks as l
                where l.locktype = 'relation' and l.relation = source and l.granted
                  and l.database = (select d.oid from pg_database as d where d.datname = current_database())
            ) as held
            left join pg_stat_activity as a on a.pid = held.pid
            where held.pid is distinct from pg_backend_pid()
            order by a.xact_start nulls last
            limit 3
        ) as first_three
    );
begin
    raise lock_not_available using
        message = format('%s is in use by another transaction, and nothing was changed', source),
        hint = coalesce('It is held by ' || holders || '. ', '')
            || 'Call again when that transaction has ended; SET lock_timeout = ''1min'' waits longer, and so do all who use the table meanwhile.';
end;
$$;


ALTER FUNCTION pgsbert.raise_held(source regclass) OWNER TO postgres;

--
-- Name: FUNCTION raise_held(source regclass); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.raise_held(source regclass) IS 'Raises 55P03 with who holds the table and what to do';


--
-- Name: read_template(text); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.read_template(template text, OUT columns text[], OUT by_position text) RETURNS record
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
    part text;
    wanted text;
begin
    columns := '{}';
    by_position := '';
    for part in select m[1] from regexp_matches(template, '\{\{|\}\}|\{[^{}]*\}|[{}]|[^{}]+', 'g') as m loop
        if part in ('{', '}') then
            raise exception using errcode = 'PB007',
                message = format('the template has a brace without its partner after %L', by_position),
                hint = 'Write {column} for a column, and {{ or }} for a brace of the text.';
        elsif part like '{%}' then
            wanted := substr(part, 2, length(part) - 2);
            if wanted <> all (columns) then
                columns := columns || wanted;
            end if;
            -- a position among the tracked columns, so that a rename changes nothing
            part := '{' || array_position(columns, wanted) || '}';
        end if;
        by_position := by_position || part;
    end loop;
    if columns = '{}' then
        raise exception using errcode = 'PB007',
            message = 'the template names no column',
            hint = 'Write each as {column}: template => ''{title}: {body}''.';
    end if;
end;
$$;


ALTER FUNCTION pgsbert.read_template(template text, OUT columns text[], OUT by_position text) OWNER TO postgres;

--
-- Name: FUNCTION read_template(template text, OUT columns text[], OUT by_position text); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.read_template(template text, OUT columns text[], OUT by_position text) IS 'The columns of a template, and the template with {1} for the first of them; or PB007';


--
-- Name: recover(pgsbert.vectorizer); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.recover(v pgsbert.vectorizer) RETURNS pgsbert.vectorizer
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
    now_named pgsbert.vectorizer := pgsbert.recognized(v);
begin
    if v.stamp = pgsbert.stamp(v.source) then
        -- the names of today, for the day this database is restored elsewhere
        now_named.column_names := pgsbert.names_of(v.source, v.column_numbers, v.column_names);
        now_named.key_names := pgsbert.names_of(v.source, v.key_numbers, v.key_names);
        if v.storage = 'column' then
            now_named.target := (pgsbert.names_of(v.source, array[v.target_number], array[v.target]))[1];
        end if;
    end if;
    if now_named is not distinct from v then
        return v;
    end if;
    -- another worker may be at it; it finds the same
    perform from pgsbert.vectorizer as w where w.id = v.id and w.stamp = v.stamp for no key update skip locked;
    if not found then
        return null;
    elsif v.stamp = pgsbert.stamp(v.source) then
        update pgsbert.vectorizer as w
        set column_names = now_named.column_names, key_names = now_named.key_names, target = now_named.target
        where w.id = v.id;
        if now_named.target <> v.target then
            -- it has the name of the vector column for that day too
            perform pgsbert.make_trigger_function(now_named, format('clear_%s', v.id), '', pgsbert.clear_body(now_named));
        end if;
    elsif now_named.stamp <> v.stamp then
        update pgsbert.vectorizer as w
        set column_numbers = now_named.column_numbers, key_numbers = now_named.key_numbers,
            target_number = now_named.target_number, stamp = now_named.stamp,
            -- rows that came without their triggers are looked for
            swept_at = null, index_error = null
        where w.id = v.id
        returning w.* into now_named;
        perform pgsbert.renumber_queue(v.id);
        perform pgsbert.renew(now_named);
    end if;
    return now_named;
end;
$$;


ALTER FUNCTION pgsbert.recover(v pgsbert.vectorizer) OWNER TO postgres;

--
-- Name: FUNCTION recover(v pgsbert.vectorizer); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.recover(v pgsbert.vectorizer) IS 'Brings the row of a vectorizer up to date: names after a rename, numbers after a restore; null if another worker does it now';


--
-- Name: refit(integer); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.refit(vectorizer_id integer) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
    v pgsbert.vectorizer;
begin
    select * into v from pgsbert.vectorizer as w where w.id = vectorizer_id;
    perform pgsbert.mend_triggers(v, broken => v.id is null or pgsbert.broken_by(v) is not null);
end;
$$;


ALTER FUNCTION pgsbert.refit(vectorizer_id integer) OWNER TO postgres;

--
-- Name: FUNCTION refit(vectorizer_id integer); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.refit(vectorizer_id integer) IS 'Part of TRUNCATE: makes the trigger functions know the table as it is written now';


--
-- Name: refresh(text); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.refresh(name text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
    v pgsbert.vectorizer := pgsbert.vectorizer_named(name);
begin
    perform pgsbert.check_owner(v.source);
    update pgsbert.vectorizer as w set filled_at = null, index_error = null where w.id = v.id;
    -- The walk starts again; every row it reaches is queued, whatever vector it has. After the row lock, which a
    -- worker's range holds, so that its new last key is visible here.
    execute format('delete from pgsbert.fill_%s', v.id);
    perform pgsbert.announce();
end;
$$;


ALTER FUNCTION pgsbert.refresh(name text) OWNER TO postgres;

--
-- Name: FUNCTION refresh(name text); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.refresh(name text) IS 'Embeds every row anew, from the first to the last, while searches go on';


--
-- Name: register_side(integer, regclass); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.register_side(vectorizer_id integer, side regclass) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
    perform pgsbert.check_owner((select v.source from pgsbert.vectorizer as v where v.id = vectorizer_id));
    perform pgsbert.check_owner(side);
    update pgsbert.vectorizer as v set side = register_side.side
    where v.id = vectorizer_id and v.storage = 'table' and v.side is null;
end;
$$;


ALTER FUNCTION pgsbert.register_side(vectorizer_id integer, side regclass) OWNER TO postgres;

--
-- Name: FUNCTION register_side(vectorizer_id integer, side regclass); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.register_side(vectorizer_id integer, side regclass) IS 'Part of create_vectorizer: notes the side table';


--
-- Name: register_vectorizer(regclass, text[], text, text, text, text, text, text, text, text); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.register_vectorizer(source regclass, columns text[], template text, name text, model text, storage text, target text, distance text, index text, on_change text) RETURNS pgsbert.vectorizer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
declare
    m pgsbert.model;
    numbers smallint[];
    adopted smallint;
    v pgsbert.vectorizer;
    owner name := (select pg_get_userbyid(c.relowner) from pg_class as c where c.oid = source);
begin
    perform pgsbert.check_source(source);
    perform pgsbert.check_owner(source);
    m := pgsbert.bi_encoder_named(model);
    if template is not null then
        if columns is not null then
            raise exception using errcode = 'PB007',
                message = 'columns and template were both given',
                hint = 'Give one of them: a template names its columns itself.';
        end if;
        select t.columns, t.by_position into columns, template from pgsbert.read_template(template) as t;
    end if;
    numbers := pgsbert.check_columns(source, columns);
    perform pgsbert.check_option('storage', storage, array['column', 'table']);
    perform pgsbert.check_option('distance', distance, array['cosine', 'l2', 'inner_product']);
    perform pgsbert.check_option('index', index, array['hnsw', 'none']);
    perform pgsbert.check_option('on_change', on_change, array['keep', 'clear']);
    if target is null or target = '' or octet_length(target) > 63 then
        raise exception using errcode = 'PB007', message = 'target => must name a column, in at most 63 bytes';
    elsif name is null or name = '' or octet_length(name) > 63 then
        raise exception using errcode = 'PB007', message = 'name => must be 1 to 63 bytes long';
    elsif storage = 'table' and not pg_has_role(current_user, owner, 'usage') then
        raise exception using errcode = 'PB007',
            message = format('storage => ''table'' needs %I, which owns pgsbert, to be a member of %I, which owns %s', current_user, owner, source),
            hint = format('Have an administrator run: grant %2$I to %1$I; or use storage => ''column''.', current_user, owner);
    elsif pgsbert.key_index(source) is null then
        raise exception using errcode = 'PB007',
            message = format('table %s has no key that can name its rows', source),
            hint = 'Add a primary key, or a UNIQUE constraint over NOT NULL columns that is neither deferrable nor partial '
                'nor WITHOUT OVERLAPS, of types that can be sorted and hashed: a vector cannot.';
    elsif exists (select from pgsbert.vectorizer as other where other.name = register_vectorizer.name) then
        raise exception using errcode = 'PB007',
            message = format('a vectorizer is already called "%s"', name),
            hint = case
                when exists (
                    select
                    from pgsbert.vectorizer as other
                    join pg_class as c on c.oid = other.source
                    where other.name = register_vectorizer.name
                ) then 'Pass name => for a second one, or if_not_exists => true.'
                else format('Its table was dropped. First: select pgsbert.drop_vectorizer(%L).', name)
            end;
    elsif index = 'hnsw' and m.dimensions > 2000 then
        raise exception using errcode = 'PB007',
            message = format('"%s" has %s dimensions: an HNSW index on vector takes at most 2000', m.name, m.dimensions),
            hint = 'Pass index => ''none''.';
    end if;
    if storage = 'column' then
        adopted := pgsbert.check_target(source, target, m);
        if adopted = any (numbers) then
            raise exception using errcode = 'PB007', message = format('column "%s" cannot be tracked and hold the vector', target);
        elsif exists (
            select from pgsbert.vectorizer as other
            where other.source = register_vectorizer.source and other.storage = 'column'
              and (pgsbert.recognized(other)).target_number = adopted
        ) then
            raise exception using errcode = 'PB007',
                message = format('column "%s" of %s already belongs to another vectorizer', target, source),
                hint = 'Give another column with target =>.';
        end if;
    end if;
    if on_change = 'clear' and exists (
        select from pg_attribute as a where a.attrelid = source and a.attnum = any (numbers) and a.attgenerated <> ''
    ) then
        raise exception using errcode = 'PB007',
            message = 'on_change => ''clear'' cannot see generated columns before they are stored',
            hint = 'Use on_change => ''keep'', or track the columns they are made from.';
    end if;
    perform pgsbert.halt_index_builds(source);
    insert into pgsbert.vectorizer as w (
        name, source, column_names, column_numbers, template, key_names, key_numbers, model, storage, target, distance, index_method, on_change, stamp
    )
    select
        register_vectorizer.name, source, columns, numbers, template,
        array_agg(k.name order by k.place), array_agg(k.number order by k.place),
        m.name, storage, target, distance, index, on_change, pgsbert.stamp(source)
    from pgsbert.key_columns(pgsbert.key_index(source)) as k
    returning w.* into v;
    perform pgsbert.drop_orphaned_queues(source, v.id);
    perform pgsbert.create_queue(v);
    return v;
end;
$_$;


ALTER FUNCTION pgsbert.register_vectorizer(source regclass, columns text[], template text, name text, model text, storage text, target text, distance text, index text, on_change text) OWNER TO postgres;

--
-- Name: FUNCTION register_vectorizer(source regclass, columns text[], template text, name text, model text, storage text, target text, distance text, index text, on_change text); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.register_vectorizer(source regclass, columns text[], template text, name text, model text, storage text, target text, distance text, index text, on_change text) IS 'First step of create_vectorizer: checks everything, registers, makes the queue';


--
-- Name: renew(pgsbert.vectorizer); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.renew(v pgsbert.vectorizer) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
begin
    execute format('grant select, insert, update, delete on pgsbert.pending_%1$s, pgsbert.lease_%1$s, pgsbert.fill_%1$s to pgsbert_worker', v.id);
    if pgsbert.broken_by(v) is not null then
        return;
    end if;
    perform pgsbert.create_trigger_functions(v);
    -- an installer that is no superuser and no member of the owner cannot grant
    if (select pg_has_role(c.relowner, 'usage') from pg_class as c where c.oid = v.source) then
        perform pgsbert.grant_to_worker(v);
        if v.side is not null then
            execute format('grant select, insert, update, delete on %s to pgsbert_worker', v.side);
        end if;
    end if;
end;
$_$;


ALTER FUNCTION pgsbert.renew(v pgsbert.vectorizer) OWNER TO postgres;

--
-- Name: FUNCTION renew(v pgsbert.vectorizer); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.renew(v pgsbert.vectorizer) IS 'Makes the trigger functions of a vectorizer anew, and gives the worker its rights again';


--
-- Name: renew_search(pgsbert.vectorizer); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.renew_search(v pgsbert.vectorizer) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
    ours record;
begin
    for ours in
        select n.nspname as schema_name, p.proname as name, p.oid::regprocedure as signature
        from pg_class as c
        join pg_namespace as n on n.oid = c.relnamespace
        join pg_proc as p on p.pronamespace = n.oid and p.proname = v.name || '_search' and p.proowner = c.relowner
        where c.oid = v.source and p.prosrc <> pgsbert.search_body(v)
          and pgsbert.is_ours(obj_description(p.oid, 'pg_proc'), v) and pg_has_role(p.proowner, 'usage')
    loop
        begin
            -- in place, so that grants and what uses it stay
            execute format(
                'create or replace function %I.%I(query text, k integer default 10, rerank boolean default false, candidates integer default 50) '
                'returns table (item %s, distance double precision, score double precision) '
                'language plpgsql stable parallel unsafe as %L',
                ours.schema_name, ours.name, v.source, pgsbert.search_body(v)
            );
        exception when others then
            -- its owner made something else of it: that must not hold up the upgrade of all
            raise warning 'function % was not made anew: %', ours.signature, sqlerrm;
        end;
    end loop;
end;
$$;


ALTER FUNCTION pgsbert.renew_search(v pgsbert.vectorizer) OWNER TO postgres;

--
-- Name: FUNCTION renew_search(v pgsbert.vectorizer); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.renew_search(v pgsbert.vectorizer) IS 'Makes <name>_search anew where this version makes another one';


--
-- Name: renew_vectorizers(); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.renew_vectorizers() RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
    v pgsbert.vectorizer;
begin
    for v in select * from pgsbert.vectorizer order by id for no key update loop
        v := pgsbert.recover(v);
        perform pgsbert.renew(v);
        perform pgsbert.renew_search(v);
    end loop;
    perform pgsbert.announce();
end;
$$;


ALTER FUNCTION pgsbert.renew_vectorizers() OWNER TO postgres;

--
-- Name: FUNCTION renew_vectorizers(); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.renew_vectorizers() IS 'Part of install and upgrade: what was generated for each vectorizer is made by the functions of this version';


--
-- Name: renumber_queue(integer); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.renumber_queue(vectorizer_id integer) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
declare
    newest bigint;
begin
    -- workers of another database held these; failures stay
    execute format('delete from pgsbert.lease_%s where failed_at is null', vectorizer_id);
    execute format(
        'select greatest((select max(revision) from pgsbert.pending_%1$s), (select max(revision) from pgsbert.lease_%1$s))', vectorizer_id
    ) into newest;
    if newest > (select last_value from pgsbert.revision) then
        -- as upgrades do: of two that set it, none may set it back
        perform pg_advisory_xact_lock(1885827938, 0);
        perform setval('pgsbert.revision', greatest(newest, (select last_value from pgsbert.revision)));
    end if;
    -- where the sequence was restored after the rows, or not at all, users' writes have numbers that others have
    execute format('update pgsbert.pending_%s set revision = nextval(''pgsbert.revision'')', vectorizer_id);
end;
$_$;


ALTER FUNCTION pgsbert.renumber_queue(vectorizer_id integer) OWNER TO postgres;

--
-- Name: FUNCTION renumber_queue(vectorizer_id integer); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.renumber_queue(vectorizer_id integer) IS 'After a restore: no row is leased, and no revision is there twice';


--
-- Name: rerank(text, text[], text, integer); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.rerank(query text, documents text[], model text DEFAULT NULL::text, top_k integer DEFAULT NULL::integer) RETURNS TABLE(ordinal integer, document text, score double precision)
    LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL RESTRICTED
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
#variable_conflict use_column
declare
    known text[] := array(select d from unnest(documents) as d where d is not null);
    scores real[];
begin
    perform pgsbert.check_reranker(model);
    if query = '' then
        raise exception using errcode = 'PB007', message = 'the query is empty';
    elsif top_k < 1 then
        raise exception using errcode = 'PB007', message = format('top_k must be at least 1, not %s', top_k);
    elsif query is null or known = '{}' then
        return;
    end if;
    scores := (pgsbert.ask('rerank', model, query, known)).scores;
    return query
        select d.ordinal::int, d.document, scores[d.place]::float8
        from (
            select u.ordinal, u.document, count(u.document) over (order by u.ordinal) as place
            from unnest(documents) with ordinality as u (document, ordinal)
        ) as d
        where d.document is not null
        order by scores[d.place] desc, d.ordinal
        limit top_k;
end;
$$;


ALTER FUNCTION pgsbert.rerank(query text, documents text[], model text, top_k integer) OWNER TO postgres;

--
-- Name: FUNCTION rerank(query text, documents text[], model text, top_k integer); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.rerank(query text, documents text[], model text, top_k integer) IS 'Documents scored against a query by a cross-encoder, best first; NULL documents are left out';


--
-- Name: resume_vectorizer(text); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.resume_vectorizer(name text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
    v pgsbert.vectorizer := pgsbert.vectorizer_named(name);
begin
    perform pgsbert.check_owner(v.source);
    update pgsbert.vectorizer as w set paused = false where w.id = v.id;
    perform pgsbert.announce();
end;
$$;


ALTER FUNCTION pgsbert.resume_vectorizer(name text) OWNER TO postgres;

--
-- Name: FUNCTION resume_vectorizer(name text); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.resume_vectorizer(name text) IS 'Ends a pause';


--
-- Name: retry_failures(text); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.retry_failures(name text) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
declare
    v pgsbert.vectorizer := pgsbert.vectorizer_named(name);
    keys text := (select string_agg('k' || i, ', ') from generate_series(1, cardinality(v.key_numbers)) as i);
    retried bigint;
begin
    perform pgsbert.check_owner(v.source);
    execute format(
        'with again as (delete from pgsbert.lease_%1$s where failed_at is not null returning %2$s), '
        'queued as (insert into pgsbert.pending_%1$s (%2$s, revision) select %2$s, nextval(''pgsbert.revision'') from again '
        'on conflict (%2$s) do nothing) select count(*) from again',
        v.id, keys
    ) into retried;
    perform pgsbert.announce();
    return retried;
end;
$_$;


ALTER FUNCTION pgsbert.retry_failures(name text) OWNER TO postgres;

--
-- Name: FUNCTION retry_failures(name text); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.retry_failures(name text) IS 'Queues the failed rows of a vectorizer again; returns how many';


--
-- Name: revoke_usage(text); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.revoke_usage(role text) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
    perform pgsbert.check_role(role);
    execute format('revoke all on all routines in schema pgsbert from %I', role);
    execute format('revoke all on all tables in schema pgsbert from %I', role);
    execute format('revoke all on all sequences in schema pgsbert from %I', role);
    execute format('revoke all on schema pgsbert from %I', role);
    -- what the triggers of its own side tables need is not usage
    perform pgsbert.grant_to_owner(v) from pgsbert.vectorizer as v;
end;
$$;


ALTER FUNCTION pgsbert.revoke_usage(role text) OWNER TO postgres;

--
-- Name: FUNCTION revoke_usage(role text); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.revoke_usage(role text) IS 'Takes back all that grant_usage gave';


--
-- Name: row_key_sql(pgsbert.vectorizer); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.row_key_sql(v pgsbert.vectorizer) RETURNS text
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    RETURN format('(tg_relid = %1$s or pg_partition_root(tg_relid) = %1$s) and (select count(*) from pg_attribute as a where a.attrelid = %1$s and (%2$s)) = %3$s'::text, ((v).source)::oid, (SELECT string_agg(format('a.attnum = %s and a.attname = %L and a.atttypid = %s'::text, k.number, k.name, a.atttypid), ' or '::text ORDER BY k.place) AS string_agg FROM (pgsbert.key_columns(pgsbert.key_index(((row_key_sql.v).source)::oid)) k(place, number, name, operator) JOIN pg_attribute a ON (((a.attrelid = ((row_key_sql.v).source)::oid) AND (a.attnum = k.number))))), cardinality((v).key_numbers));


ALTER FUNCTION pgsbert.row_key_sql(v pgsbert.vectorizer) OWNER TO postgres;

--
-- Name: FUNCTION row_key_sql(v pgsbert.vectorizer); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.row_key_sql(v pgsbert.vectorizer) IS 'The condition that a row trigger fires for the vectorizer''s table, whose key is called what it was and has its type';


--
-- Name: side_unmoved_sql(pgsbert.vectorizer); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.side_unmoved_sql(v pgsbert.vectorizer) RETURNS text
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    RETURN CASE WHEN ((v).side IS NULL) THEN ''::text ELSE format(' and to_regclass(%L) = %s::oid and has_table_privilege(%2$s::oid, ''delete'') and (select count(*) from pg_attribute where attrelid = %2$s and attname = any (%L)) = %s'::text, (v).side, ((v).side)::oid, ARRAY(SELECT a.attname FROM pg_attribute a WHERE ((a.attrelid = ((side_unmoved_sql.v).side)::oid) AND ((a.attnum >= 1) AND (a.attnum <= cardinality((side_unmoved_sql.v).key_numbers))))), cardinality((v).key_numbers)) END;


ALTER FUNCTION pgsbert.side_unmoved_sql(v pgsbert.vectorizer) OWNER TO postgres;

--
-- Name: FUNCTION side_unmoved_sql(v pgsbert.vectorizer); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.side_unmoved_sql(v pgsbert.vectorizer) IS 'The condition that trigger functions still fit the side table, empty where there is none';


--
-- Name: row_unmoved_sql(pgsbert.vectorizer); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.row_unmoved_sql(v pgsbert.vectorizer) RETURNS text
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    RETURN (pgsbert.row_key_sql(v) || pgsbert.side_unmoved_sql(v));


ALTER FUNCTION pgsbert.row_unmoved_sql(v pgsbert.vectorizer) OWNER TO postgres;

--
-- Name: FUNCTION row_unmoved_sql(v pgsbert.vectorizer); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.row_unmoved_sql(v pgsbert.vectorizer) IS 'The condition that the functions of row triggers made now would still fit their tables';


--
-- Name: schema_version(); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.schema_version() RETURNS text
    LANGUAGE sql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    RETURN '0002'::text;


ALTER FUNCTION pgsbert.schema_version() OWNER TO postgres;

--
-- Name: FUNCTION schema_version(); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.schema_version() IS 'The migration this schema is at; a dump without data keeps it here alone';


--
-- Name: search(text, text, integer, boolean, integer); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.search(vectorizer text, query text, k integer DEFAULT 10, rerank boolean DEFAULT false, candidates integer DEFAULT 50) RETURNS TABLE(item jsonb, distance double precision, score double precision)
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
#variable_conflict use_column
declare
    v pgsbert.vectorizer := pgsbert.find_vectorizer(vectorizer);
    found_settings record;
begin
    perform pgsbert.check_search(query, k, rerank, candidates);
    found_settings := pgsbert.widen_scan(case when rerank then greatest(k, candidates) else k end);
    return query execute pgsbert.search_sql(v.id, 'jsonb', rerank) using pgsbert.embed(query, v.model), query, k, candidates;
    perform pgsbert.narrow_scan(found_settings.ef_search, found_settings.iterative_scan);
end;
$$;


ALTER FUNCTION pgsbert.search(vectorizer text, query text, k integer, rerank boolean, candidates integer) OWNER TO postgres;

--
-- Name: FUNCTION search(vectorizer text, query text, k integer, rerank boolean, candidates integer); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.search(vectorizer text, query text, k integer, rerank boolean, candidates integer) IS 'The rows nearest in meaning to a query, as jsonb, by the name of the vectorizer';


--
-- Name: search_body(pgsbert.vectorizer); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.search_body(v pgsbert.vectorizer) RETURNS text
    LANGUAGE sql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    RETURN format('
#variable_conflict use_column
declare
    found_settings record;
begin
    perform pgsbert.check_search(query, k, rerank, candidates);
    found_settings := pgsbert.widen_scan(case when rerank then greatest(k, candidates) else k end);
    return query execute pgsbert.search_sql(%1$s, ''row'', rerank) using pgsbert.embed(query, %2$L), query, k, candidates;
    perform pgsbert.narrow_scan(found_settings.ef_search, found_settings.iterative_scan);
end;
'::text, (v).id, (v).model);


ALTER FUNCTION pgsbert.search_body(v pgsbert.vectorizer) OWNER TO postgres;

--
-- Name: FUNCTION search_body(v pgsbert.vectorizer); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.search_body(v pgsbert.vectorizer) IS 'What <name>_search does';


--
-- Name: search_sql(integer, text, boolean); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.search_sql(vectorizer_id integer, item text, rerank boolean) RETURNS text
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
declare
    v pgsbert.vectorizer;
    distance text;
    nearest text;
begin
    v := pgsbert.vectorizer_numbered(vectorizer_id);
    perform pgsbert.check_searchable(v, rerank);
    if item = 'jsonb' then
        item := pgsbert.item_expression(v);
    else
        -- not "s": a column may be called that
        item := format('s.*::%s', v.source);
    end if;
    distance := pgsbert.distance_expression(v, '$1');
    -- This runs in the search_path of the caller, who may trust it less than we do: what is not an exact match of
    -- pg_catalog is qualified.
    -- the operator alone in ORDER BY, ascending: anything around it, and no index serves; outside, "+ 0" makes
    -- PostgreSQL sort the few rows found, for the index orders by a distance that differs in the last bits
    nearest := format(
        'select %s as item, %s::float8 as distance, %s as document from %s where %s is not null order by %s limit',
        item, distance, case when rerank then pgsbert.document_expression(v, 's') else 'null::text' end,
        pgsbert.vector_relation(v),
        format('%s.%I', case when v.storage = 'table' then 't' else 's' end, pgsbert.target_name(v)),
        distance
    );
    if not rerank then
        return format('select item, distance, 1 operator(pg_catalog.-) distance from (%s $3) as nearest order by distance operator(pg_catalog.+) 0', nearest);
    end if;
    return format(
        'with candidate as materialized ('
        'select nearest.*, row_number() over (order by distance operator(pg_catalog.+) 0) as ordinal from (%s greatest($3, $4)) as nearest'
        ') select c.item, c.distance, r.score from candidate as c '
        'join pgsbert.rerank($2, array(select document from candidate order by ordinal)) as r using (ordinal) '
        'order by r.score desc, c.ordinal limit $3',
        nearest
    );
end;
$_$;


ALTER FUNCTION pgsbert.search_sql(vectorizer_id integer, item text, rerank boolean) OWNER TO postgres;

--
-- Name: FUNCTION search_sql(vectorizer_id integer, item text, rerank boolean); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.search_sql(vectorizer_id integer, item text, rerank boolean) IS 'The search of a vectorizer: $1 embedding, $2 query, $3 k, $4 candidates';


--
-- Name: side_match(pgsbert.vectorizer, text, text); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.side_match(v pgsbert.vectorizer, source_alias text, side_alias text) RETURNS text
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    RETURN (SELECT string_agg(format('%s.%I %s %s.%I'::text, side_match.source_alias, k.name, k.operator, side_match.side_alias, a.attname), ' and '::text ORDER BY k.place) AS string_agg FROM (pgsbert.key_columns(pgsbert.key_index(((side_match.v).source)::oid)) k(place, number, name, operator) JOIN pg_attribute a ON (((a.attrelid = ((side_match.v).side)::oid) AND (a.attnum = k.place)))));


ALTER FUNCTION pgsbert.side_match(v pgsbert.vectorizer, source_alias text, side_alias text) OWNER TO postgres;

--
-- Name: FUNCTION side_match(v pgsbert.vectorizer, source_alias text, side_alias text); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.side_match(v pgsbert.vectorizer, source_alias text, side_alias text) IS 'The condition that a row of the side table belongs to a row of the source';


--
-- Name: side_match_by_number(pgsbert.vectorizer, text, text); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.side_match_by_number(v pgsbert.vectorizer, side_alias text, transition_alias text) RETURNS text
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    RETURN (SELECT string_agg(format('%s.%I %s %s.c%s'::text, side_match_by_number.side_alias, a.attname, k.operator, side_match_by_number.transition_alias, k.number), ' and '::text ORDER BY k.place) AS string_agg FROM (pgsbert.key_columns(pgsbert.key_index(((side_match_by_number.v).source)::oid)) k(place, number, name, operator) JOIN pg_attribute a ON (((a.attrelid = ((side_match_by_number.v).side)::oid) AND (a.attnum = k.place)))));


ALTER FUNCTION pgsbert.side_match_by_number(v pgsbert.vectorizer, side_alias text, transition_alias text) OWNER TO postgres;

--
-- Name: FUNCTION side_match_by_number(v pgsbert.vectorizer, side_alias text, transition_alias text); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.side_match_by_number(v pgsbert.vectorizer, side_alias text, transition_alias text) IS 'The condition that a row of the side table belongs to a row of a transition table';


--
-- Name: similar_sql(integer); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.similar_sql(vectorizer_id integer) RETURNS text
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
declare
    v pgsbert.vectorizer;
    row_key text;
begin
    v := pgsbert.vectorizer_numbered(vectorizer_id);
    perform pgsbert.check_searchable(v, false);
    select string_agg(format('s.%I %s $1[%s]::%s', k.name, k.operator, k.place, pgsbert.column_type(v.source, k.number)), ' and ' order by k.place)
    into row_key
    from pgsbert.key_columns(pgsbert.key_index(v.source)) as k;
    if row_key is null then
        raise exception using errcode = 'PB008',
            message = format('vectorizer "%s" is broken: %s has no unique key over NOT NULL columns any more', v.name, v.source);
    end if;
    return format(
        'with origin as materialized (select %1$s as embedding from %2$s where %3$s) '
        'select item, distance, 1 operator(pg_catalog.-) distance from ('
        'select %4$s as item, (%5$s)::float8 as distance from %2$s '
        -- a row without a vector is near to none; an index would return rows all the same
        'where (select embedding from origin) is not null and not (%3$s) and %1$s is not null order by %5$s limit $2'
        ') as nearest order by distance operator(pg_catalog.+) 0',
        format('%s.%I', case when v.storage = 'table' then 't' else 's' end, pgsbert.target_name(v)),
        pgsbert.vector_relation(v),
        row_key,
        pgsbert.item_expression(v),
        pgsbert.distance_expression(v, '(select embedding from origin)')
    );
end;
$_$;


ALTER FUNCTION pgsbert.similar_sql(vectorizer_id integer) OWNER TO postgres;

--
-- Name: FUNCTION similar_sql(vectorizer_id integer); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.similar_sql(vectorizer_id integer) IS 'The rows nearest to one row of a vectorizer: $1 its key as text[], $2 k';


--
-- Name: similar_to(text, text[], integer); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.similar_to(vectorizer text, key text[], k integer DEFAULT 10) RETURNS TABLE(item jsonb, distance double precision, score double precision)
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
    v pgsbert.vectorizer := pgsbert.find_vectorizer(vectorizer);
    found_settings record;
begin
    if coalesce(cardinality(key), 0) <> cardinality(v.key_numbers) then
        raise exception using errcode = 'PB007',
            message = format('the key of "%s" has %s column(s): %s', v.name, cardinality(v.key_numbers), array_to_string(v.key_names, ', ')),
            hint = 'Give one text for each, in that order.';
    elsif k is null or k < 1 then
        raise exception using errcode = 'PB007', message = format('k must be at least 1, not %s', coalesce(k::text, 'NULL'));
    end if;
    found_settings := pgsbert.widen_scan(least(k, 1000) + 1);
    return query execute pgsbert.similar_sql(v.id) using key, k;
    perform pgsbert.narrow_scan(found_settings.ef_search, found_settings.iterative_scan);
end;
$$;


ALTER FUNCTION pgsbert.similar_to(vectorizer text, key text[], k integer) OWNER TO postgres;

--
-- Name: FUNCTION similar_to(vectorizer text, key text[], k integer); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.similar_to(vectorizer text, key text[], k integer) IS 'The rows nearest in meaning to the row of that key, as jsonb; none if it has no vector';


--
-- Name: similarity(text, text, text); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.similarity(a text, b text, model text DEFAULT NULL::text) RETURNS double precision
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
    vectors "public".vector[];
begin
    if a is null or b is null then
        return null;
    end if;
    vectors := pgsbert.embed(array[a, b], model);
    return 1 - (vectors[1] operator("public".<=>) vectors[2]);
end;
$$;


ALTER FUNCTION pgsbert.similarity(a text, b text, model text) OWNER TO postgres;

--
-- Name: FUNCTION similarity(a text, b text, model text); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.similarity(a text, b text, model text) IS 'Cosine of the embeddings of two texts, from -1 to 1';


--
-- Name: sweep(text); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.sweep(name text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
    v pgsbert.vectorizer := pgsbert.vectorizer_named(name);
begin
    perform pgsbert.check_owner(v.source);
    -- waits for the range of a worker, whose new last key is visible after that
    update pgsbert.vectorizer as w set swept_at = null where w.id = v.id returning w.* into v;
    if v.filled_at is not null then
        -- one under way begins again; while every row is being embedded there is nothing to look for
        execute format('delete from pgsbert.fill_%s', v.id);
    end if;
    perform pgsbert.announce();
end;
$$;


ALTER FUNCTION pgsbert.sweep(name text) OWNER TO postgres;

--
-- Name: FUNCTION sweep(name text); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.sweep(name text) IS 'Looks now for rows that no trigger saw: text without a vector, and vectors without text or row';


--
-- Name: text_of(oid, smallint, text); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.text_of(source oid, number smallint, alias text) RETURNS text
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    RETURN (WITH RECURSIVE base AS (SELECT a.atttypid AS type FROM pg_attribute a WHERE ((a.attrelid = text_of.source) AND (a.attnum = text_of.number)) UNION ALL SELECT t_1.typbasetype FROM (base b_1 JOIN pg_type t_1 ON ((t_1.oid = b_1.type))) WHERE (t_1.typtype = 'd'::"char")) SELECT CASE WHEN ((t.typnamespace = ('pg_catalog'::regnamespace)::oid) OR (EXISTS (SELECT FROM pg_depend d WHERE ((d.classid = ('pg_type'::regclass)::oid) AND (d.objid = t.oid) AND (d.deptype = 'e'::"char"))))) THEN format('%s.c%s::text'::text, text_of.alias, text_of.number) ELSE format('format(''%%s'', %s.c%s)'::text, text_of.alias, text_of.number) END AS format FROM (base b JOIN pg_type t ON (((t.oid = b.type) AND (t.typtype <> 'd'::"char")))));


ALTER FUNCTION pgsbert.text_of(source oid, number smallint, alias text) OWNER TO postgres;

--
-- Name: FUNCTION text_of(source oid, number smallint, alias text); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.text_of(source oid, number smallint, alias text) IS 'A column of a transition table as text, without running code of the table''s owner';


--
-- Name: unmoved_sql(pgsbert.vectorizer); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.unmoved_sql(v pgsbert.vectorizer) RETURNS text
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
declare
    columns smallint[] := array(select number from pgsbert.live_columns(v));
    unmoved text := case
        -- null for a dropped column, whatever the caller may read
        when cardinality(columns) <= 16 then (
            select string_agg(format('has_column_privilege(tg_relid, %s::smallint, ''select'') is not null', number), ' and ')
            from unnest(columns) as number
        )
        -- one query costs less than many calls
        else format(
            '(select count(*) from pg_attribute where attrelid = tg_relid and attnum = any (%L::smallint[]) and not attisdropped) = %s',
            columns, cardinality(columns)
        )
    end || format(
        -- null for a dropped index: the key is gone, or has another type, for which its index was made anew
        ' and pg_relation_filenode(%s::oid) is not null', pgsbert.key_index(v.source)::oid
    ) || case when v.side is null then format(
        -- With the installer's rights no code of the table's owner may run: not on another table of theirs, nor a cast of
        -- a type that a column was given since, which has the table written anew. So has TRUNCATE, whose trigger makes the
        -- functions fit again, and VACUUM FULL, after which a worker's next look does. (A query for the types would cost
        -- every statement more than all the rest.)
        ' and tg_relid = %1$s::oid and pg_relation_filenode(tg_relid) = %2$s::oid', v.source::oid, pg_relation_filenode(v.source)
    ) else '' end;
begin
    if v.row_triggers then
        return pgsbert.row_unmoved_sql(v);
    end if;
    return unmoved || pgsbert.side_unmoved_sql(v);
end;
$_$;


ALTER FUNCTION pgsbert.unmoved_sql(v pgsbert.vectorizer) OWNER TO postgres;

--
-- Name: FUNCTION unmoved_sql(v pgsbert.vectorizer); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.unmoved_sql(v pgsbert.vectorizer) IS 'The condition that trigger functions made now would still fit their tables';


--
-- Name: triggers_fit(pgsbert.vectorizer); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.triggers_fit(v pgsbert.vectorizer) RETURNS boolean
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    RETURN (SELECT ((strpos(p.prosrc, format('if %s then'::text, pgsbert.unmoved_sql(triggers_fit.v))) > 0) AND (((triggers_fit.v).side IS NULL) OR (p.proowner = (SELECT c.relowner FROM pg_class c WHERE (c.oid = ((triggers_fit.v).side)::oid))))) FROM pg_proc p WHERE (p.oid = (to_regprocedure(format('pgsbert.enqueue_%s_delete()'::text, (triggers_fit.v).id)))::oid));


ALTER FUNCTION pgsbert.triggers_fit(v pgsbert.vectorizer) OWNER TO postgres;

--
-- Name: FUNCTION triggers_fit(v pgsbert.vectorizer); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.triggers_fit(v pgsbert.vectorizer) IS 'Whether the trigger functions of a vectorizer would be made the same today; null where they were dropped';


--
-- Name: unregister_vectorizer(text); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.unregister_vectorizer(vectorizer_name text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET client_min_messages TO 'warning'
    AS $_$
declare
    v pgsbert.vectorizer := pgsbert.vectorizer_named(vectorizer_name);
begin
    if exists (select from pg_class where oid = v.source) then
        perform pgsbert.check_owner(v.source);
        perform pgsbert.halt_index_builds(v.source);
    end if;
    -- a worker that is making the functions anew holds it: neither waits for the other's half
    perform from pgsbert.vectorizer as w where w.id = v.id for update;
    execute format('drop table if exists pgsbert.pending_%1$s, pgsbert.lease_%1$s, pgsbert.fill_%1$s', v.id);
    -- with them go the triggers, whatever they are called now
    execute format(
        'drop function if exists pgsbert.enqueue_%1$s_insert(), pgsbert.enqueue_%1$s_update(), pgsbert.enqueue_%1$s_delete(), '
        'pgsbert.enqueue_%1$s_truncate(), pgsbert.clear_%1$s() cascade',
        v.id
    );
    delete from pgsbert.vectorizer where id = v.id;
    perform pgsbert.announce();
end;
$_$;


ALTER FUNCTION pgsbert.unregister_vectorizer(vectorizer_name text) OWNER TO postgres;

--
-- Name: FUNCTION unregister_vectorizer(vectorizer_name text); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.unregister_vectorizer(vectorizer_name text) IS 'First step of drop_vectorizer: removes triggers, queue and registration';


--
-- Name: vector_key(pgsbert.vectorizer); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.vector_key(v pgsbert.vectorizer) RETURNS TABLE(place bigint, number smallint, operator text)
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    BEGIN ATOMIC
 SELECT k.place,
         CASE
             WHEN ((vector_key.v).storage = 'table'::text) THEN (k.place)::smallint
             ELSE k.number
         END AS number,
     k.operator
    FROM pgsbert.key_columns(pgsbert.key_index(((vector_key.v).source)::oid)) k(place, number, name, operator);
END;


ALTER FUNCTION pgsbert.vector_key(v pgsbert.vectorizer) OWNER TO postgres;

--
-- Name: FUNCTION vector_key(v pgsbert.vectorizer); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.vector_key(v pgsbert.vectorizer) IS 'The key columns of the table that holds the vectors';


--
-- Name: vector_relation(pgsbert.vectorizer); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.vector_relation(v pgsbert.vectorizer) RETURNS text
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    RETURN CASE WHEN ((v).storage = 'table'::text) THEN format('%s as t join %s as s on %s'::text, (v).side, (v).source, pgsbert.side_match(v, 's'::text, 't'::text)) ELSE format('%s as s'::text, (v).source) END;


ALTER FUNCTION pgsbert.vector_relation(v pgsbert.vectorizer) OWNER TO postgres;

--
-- Name: FUNCTION vector_relation(v pgsbert.vectorizer); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.vector_relation(v pgsbert.vectorizer) IS 'FROM what a search reads: the source, with its side table where vectors are there';


--
-- Name: vectorizer_exists(text, regclass); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.vectorizer_exists(vectorizer_name text, source regclass) RETURNS boolean
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
    other pgsbert.vectorizer;
begin
    select * into other from pgsbert.vectorizer as w where w.name = vectorizer_name;
    if not found then
        return false;
    elsif other.source <> vectorizer_exists.source then
        raise exception using errcode = 'PB007',
            message = format('vectorizer "%s" exists, for another table: %s', vectorizer_name, other.source),
            hint = 'Pass name => for this one.';
    end if;
    return true;
end;
$$;


ALTER FUNCTION pgsbert.vectorizer_exists(vectorizer_name text, source regclass) OWNER TO postgres;

--
-- Name: FUNCTION vectorizer_exists(vectorizer_name text, source regclass); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.vectorizer_exists(vectorizer_name text, source regclass) IS 'Whether the vectorizer is there; PB007 if it is another table''s';


--
-- Name: vectorizer_numbered(integer); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.vectorizer_numbered(vectorizer_id integer) RETURNS pgsbert.vectorizer
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    RETURN (SELECT pgsbert.recognized(v.*) AS recognized FROM pgsbert.vectorizer v WHERE (v.id = vectorizer_numbered.vectorizer_id));


ALTER FUNCTION pgsbert.vectorizer_numbered(vectorizer_id integer) OWNER TO postgres;

--
-- Name: FUNCTION vectorizer_numbered(vectorizer_id integer); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.vectorizer_numbered(vectorizer_id integer) IS 'A vectorizer, for trigger functions that run with the rights of the table''s owner';


--
-- Name: wait_until_synced(text, interval); Type: PROCEDURE; Schema: pgsbert; Owner: postgres
--

CREATE PROCEDURE pgsbert.wait_until_synced(IN name text, IN timeout interval DEFAULT '00:01:00'::interval)
    LANGUAGE plpgsql
    AS $$
declare
    deadline timestamptz := clock_timestamp() + timeout;
begin
    if timeout is null then
        raise exception using errcode = 'PB007', message = 'timeout => must be an interval, not NULL';
    end if;
    loop
        -- a new snapshot each time, also where the caller's transactions are REPEATABLE READ
        commit;
        exit when pgsbert.is_synced(name);
        if clock_timestamp() >= deadline then
            raise exception using errcode = 'PB002',
                message = pg_catalog.format('vectorizer "%s" was not in sync after %s', name, timeout),
                hint = 'select * from pgsbert.status shows what is pending and which workers run.';
        end if;
        perform pg_catalog.pg_sleep(0.01);
    end loop;
end;
$$;


ALTER PROCEDURE pgsbert.wait_until_synced(IN name text, IN timeout interval) OWNER TO postgres;

--
-- Name: PROCEDURE wait_until_synced(IN name text, IN timeout interval); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON PROCEDURE pgsbert.wait_until_synced(IN name text, IN timeout interval) IS 'Returns when nothing is pending; call it outside a transaction block';


--
-- Name: wake(); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.wake() RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
    if current_setting('pgsbert.notify', true) = 'off' then
        return;
    end if;
    -- PREPARE TRANSACTION refuses a transaction that has notified: leave such servers to the poll
    if coalesce(nullif(current_setting('pgsbert.notify', true), ''), 'auto') = 'auto'
       and current_setting('max_prepared_transactions')::int > 0 then
        return;
    end if;
    -- An awake worker holds this lock exclusively and looks at the queue before it sleeps. Trying comes after the
    -- upsert, when this transaction has an xid the worker waits for; and never blocks, so that nobody queues here.
    if pg_try_advisory_lock_shared(1885827938, 1) then
        perform pg_advisory_unlock_shared(1885827938, 1);
        perform pg_notify('pgsbert', '');
    end if;
end;
$$;


ALTER FUNCTION pgsbert.wake() OWNER TO postgres;

--
-- Name: FUNCTION wake(); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.wake() IS 'Notifies workers unless one is awake';


--
-- Name: wants_row_triggers(regclass, text); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.wants_row_triggers(source regclass, triggers text) RETURNS boolean
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
    is_partitioned boolean := (select c.relkind = 'p' from pg_class as c where c.oid = source);
begin
    if triggers is null then
        return is_partitioned;
    end if;
    perform pgsbert.check_option('triggers', triggers, array['statement', 'row']);
    if triggers = 'statement' and is_partitioned then
        raise exception using errcode = 'PB007',
            message = format('%s is partitioned: its statement triggers do not see what is written to a partition', source),
            hint = 'Leave triggers => out, or pass ''row''.';
    end if;
    return triggers = 'row';
end;
$$;


ALTER FUNCTION pgsbert.wants_row_triggers(source regclass, triggers text) OWNER TO postgres;

--
-- Name: FUNCTION wants_row_triggers(source regclass, triggers text); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.wants_row_triggers(source regclass, triggers text) IS 'Whether changes are to be found row by row; PB007 where they must be and should not';


--
-- Name: widen_scan(integer); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.widen_scan(wanted integer, OUT ef_search text, OUT iterative_scan text) RETURNS record
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
    -- loads the library, so that its settings are there
    perform cast('[0]' as "public".vector);
    -- An HNSW scan ends after ef_search rows, 40 unless told; where a filter or row security removes some, it must go
    -- on. What was set before is returned, for narrow_scan.
    ef_search := current_setting('hnsw.ef_search');
    iterative_scan := current_setting('hnsw.iterative_scan');
    if wanted > ef_search::int then
        perform set_config('hnsw.ef_search', least(wanted, 1000)::text, true);
    end if;
    if iterative_scan = 'off' then
        perform set_config('hnsw.iterative_scan', 'strict_order', true);
    end if;
end;
$$;


ALTER FUNCTION pgsbert.widen_scan(wanted integer, OUT ef_search text, OUT iterative_scan text) OWNER TO postgres;

--
-- Name: FUNCTION widen_scan(wanted integer, OUT ef_search text, OUT iterative_scan text); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.widen_scan(wanted integer, OUT ef_search text, OUT iterative_scan text) IS 'Lets an HNSW scan return as many rows as wanted, filters or not; returns the settings it found';


--
-- Name: worker_columns(pgsbert.vectorizer); Type: FUNCTION; Schema: pgsbert; Owner: postgres
--

CREATE FUNCTION pgsbert.worker_columns(v pgsbert.vectorizer) RETURNS text
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    RETURN (SELECT string_agg(quote_ident((a.attname)::text), ', '::text) AS string_agg FROM pg_attribute a WHERE ((a.attrelid = ((worker_columns.v).source)::oid) AND (NOT a.attisdropped) AND (a.attnum = ANY ((((worker_columns.v).column_numbers || (worker_columns.v).key_numbers) || (worker_columns.v).target_number))) AND (NOT (EXISTS (SELECT FROM pgsbert.vectorizer other WHERE (((other.source)::oid = ((worker_columns.v).source)::oid) AND (other.id <> (worker_columns.v).id) AND (a.attnum = ANY (((other.column_numbers || other.key_numbers) || other.target_number)))))))));


ALTER FUNCTION pgsbert.worker_columns(v pgsbert.vectorizer) OWNER TO postgres;

--
-- Name: FUNCTION worker_columns(v pgsbert.vectorizer); Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON FUNCTION pgsbert.worker_columns(v pgsbert.vectorizer) IS 'The columns of a table that the worker needs for this vectorizer and no other';


--
-- Name: article; Type: TABLE; Schema: public; Owner: postgres
--

CREATE TABLE public.article (
    id integer NOT NULL,
    title text,
    body text,
    embedding public.vector(8)
);


ALTER TABLE public.article OWNER TO postgres;

--
-- Name: article_search(text, integer, boolean, integer); Type: FUNCTION; Schema: public; Owner: postgres
--

CREATE FUNCTION public.article_search(query text, k integer DEFAULT 10, rerank boolean DEFAULT false, candidates integer DEFAULT 50) RETURNS TABLE(item public.article, distance double precision, score double precision)
    LANGUAGE plpgsql STABLE
    AS $$
#variable_conflict use_column
declare
    found_settings record;
begin
    perform pgsbert.check_search(query, k, rerank, candidates);
    found_settings := pgsbert.widen_scan(case when rerank then greatest(k, candidates) else k end);
    return query execute pgsbert.search_sql(1, 'row', rerank) using pgsbert.embed(query, 'fake-8'), query, k, candidates;
    perform pgsbert.narrow_scan(found_settings.ef_search, found_settings.iterative_scan);
end;
$$;


ALTER FUNCTION public.article_search(query text, k integer, rerank boolean, candidates integer) OWNER TO postgres;

--
-- Name: FUNCTION article_search(query text, k integer, rerank boolean, candidates integer); Type: COMMENT; Schema: public; Owner: postgres
--

COMMENT ON FUNCTION public.article_search(query text, k integer, rerank boolean, candidates integer) IS 'The rows nearest in meaning to a query. Made by pgsbert for "article", vectorizer 1';


--
-- Name: page; Type: TABLE; Schema: public; Owner: postgres
--

CREATE TABLE public.page (
    lang text NOT NULL,
    nr integer NOT NULL,
    body text
);


ALTER TABLE public.page OWNER TO postgres;

--
-- Name: page_search(text, integer, boolean, integer); Type: FUNCTION; Schema: public; Owner: postgres
--

CREATE FUNCTION public.page_search(query text, k integer DEFAULT 10, rerank boolean DEFAULT false, candidates integer DEFAULT 50) RETURNS TABLE(item public.page, distance double precision, score double precision)
    LANGUAGE plpgsql STABLE
    AS $$
#variable_conflict use_column
declare
    found_settings record;
begin
    perform pgsbert.check_search(query, k, rerank, candidates);
    found_settings := pgsbert.widen_scan(case when rerank then greatest(k, candidates) else k end);
    return query execute pgsbert.search_sql(2, 'row', rerank) using pgsbert.embed(query, 'fake-8'), query, k, candidates;
    perform pgsbert.narrow_scan(found_settings.ef_search, found_settings.iterative_scan);
end;
$$;


ALTER FUNCTION public.page_search(query text, k integer, rerank boolean, candidates integer) OWNER TO postgres;

--
-- Name: FUNCTION page_search(query text, k integer, rerank boolean, candidates integer); Type: COMMENT; Schema: public; Owner: postgres
--

COMMENT ON FUNCTION public.page_search(query text, k integer, rerank boolean, candidates integer) IS 'The rows nearest in meaning to a query. Made by pgsbert for "page", vectorizer 2';


--
-- Name: quiet; Type: TABLE; Schema: public; Owner: postgres
--

CREATE TABLE public.quiet (
    id integer NOT NULL,
    body text,
    embedding public.vector(8)
);


ALTER TABLE public.quiet OWNER TO postgres;

--
-- Name: quiet_search(text, integer, boolean, integer); Type: FUNCTION; Schema: public; Owner: postgres
--

CREATE FUNCTION public.quiet_search(query text, k integer DEFAULT 10, rerank boolean DEFAULT false, candidates integer DEFAULT 50) RETURNS TABLE(item public.quiet, distance double precision, score double precision)
    LANGUAGE plpgsql STABLE
    AS $$
#variable_conflict use_column
declare
    found_settings record;
begin
    perform pgsbert.check_search(query, k, rerank, candidates);
    found_settings := pgsbert.widen_scan(case when rerank then greatest(k, candidates) else k end);
    return query execute pgsbert.search_sql(3, 'row', rerank) using pgsbert.embed(query, 'fake-8'), query, k, candidates;
    perform pgsbert.narrow_scan(found_settings.ef_search, found_settings.iterative_scan);
end;
$$;


ALTER FUNCTION public.quiet_search(query text, k integer, rerank boolean, candidates integer) OWNER TO postgres;

--
-- Name: FUNCTION quiet_search(query text, k integer, rerank boolean, candidates integer); Type: COMMENT; Schema: public; Owner: postgres
--

COMMENT ON FUNCTION public.quiet_search(query text, k integer, rerank boolean, candidates integer) IS 'The rows nearest in meaning to a query. Made by pgsbert for "quiet", vectorizer 3';


--
-- Name: failures; Type: VIEW; Schema: pgsbert; Owner: postgres
--

CREATE VIEW pgsbert.failures AS
 SELECT vectorizer,
    key,
    attempts,
    error_class,
    error,
    failed_at
   FROM pgsbert.failed_rows() f(vectorizer, key, attempts, error_class, error, failed_at);


ALTER VIEW pgsbert.failures OWNER TO postgres;

--
-- Name: VIEW failures; Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON VIEW pgsbert.failures IS 'Rows that could not be embedded; pgsbert.retry_failures queues them again';


--
-- Name: fill_1; Type: TABLE; Schema: pgsbert; Owner: postgres
--

CREATE TABLE pgsbert.fill_1 (
    k1 integer NOT NULL,
    passed bigint DEFAULT 0 NOT NULL
);


ALTER TABLE pgsbert.fill_1 OWNER TO postgres;

--
-- Name: TABLE fill_1; Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON TABLE pgsbert.fill_1 IS 'The last key of public.article that the first fill has queued';


--
-- Name: fill_2; Type: TABLE; Schema: pgsbert; Owner: postgres
--

CREATE TABLE pgsbert.fill_2 (
    k1 integer NOT NULL,
    k2 text NOT NULL,
    passed bigint DEFAULT 0 NOT NULL
);


ALTER TABLE pgsbert.fill_2 OWNER TO postgres;

--
-- Name: TABLE fill_2; Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON TABLE pgsbert.fill_2 IS 'The last key of public.page that the first fill has queued';


--
-- Name: fill_3; Type: TABLE; Schema: pgsbert; Owner: postgres
--

CREATE TABLE pgsbert.fill_3 (
    k1 integer NOT NULL,
    passed bigint DEFAULT 0 NOT NULL
);


ALTER TABLE pgsbert.fill_3 OWNER TO postgres;

--
-- Name: TABLE fill_3; Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON TABLE pgsbert.fill_3 IS 'The last key of public.quiet that the first fill has queued';


--
-- Name: lease_1; Type: TABLE; Schema: pgsbert; Owner: postgres
--

CREATE TABLE pgsbert.lease_1 (
    k1 integer NOT NULL,
    revision bigint NOT NULL,
    worker integer,
    attempts integer DEFAULT 1 NOT NULL,
    deferred integer DEFAULT 0 NOT NULL,
    claimed_until timestamp with time zone NOT NULL,
    error_class text,
    error text,
    failed_at timestamp with time zone
);


ALTER TABLE pgsbert.lease_1 OWNER TO postgres;

--
-- Name: TABLE lease_1; Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON TABLE pgsbert.lease_1 IS 'Rows of public.article that a worker holds, waits to try again, or gave up';


--
-- Name: lease_2; Type: TABLE; Schema: pgsbert; Owner: postgres
--

CREATE TABLE pgsbert.lease_2 (
    k1 integer NOT NULL,
    k2 text NOT NULL,
    revision bigint NOT NULL,
    worker integer,
    attempts integer DEFAULT 1 NOT NULL,
    deferred integer DEFAULT 0 NOT NULL,
    claimed_until timestamp with time zone NOT NULL,
    error_class text,
    error text,
    failed_at timestamp with time zone
);


ALTER TABLE pgsbert.lease_2 OWNER TO postgres;

--
-- Name: TABLE lease_2; Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON TABLE pgsbert.lease_2 IS 'Rows of public.page that a worker holds, waits to try again, or gave up';


--
-- Name: lease_3; Type: TABLE; Schema: pgsbert; Owner: postgres
--

CREATE TABLE pgsbert.lease_3 (
    k1 integer NOT NULL,
    revision bigint NOT NULL,
    worker integer,
    attempts integer DEFAULT 1 NOT NULL,
    deferred integer DEFAULT 0 NOT NULL,
    claimed_until timestamp with time zone NOT NULL,
    error_class text,
    error text,
    failed_at timestamp with time zone
);


ALTER TABLE pgsbert.lease_3 OWNER TO postgres;

--
-- Name: TABLE lease_3; Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON TABLE pgsbert.lease_3 IS 'Rows of public.quiet that a worker holds, waits to try again, or gave up';


--
-- Name: migration; Type: TABLE; Schema: pgsbert; Owner: postgres
--

CREATE TABLE pgsbert.migration (
    version_num character varying(32) NOT NULL
);


ALTER TABLE pgsbert.migration OWNER TO postgres;

--
-- Name: models; Type: VIEW; Schema: pgsbert; Owner: postgres
--

CREATE VIEW pgsbert.models AS
 SELECT name,
    kind,
    is_default,
    dimensions,
    max_tokens,
    similarity,
    revision,
    hash,
    ( SELECT COALESCE(jsonb_object_agg(w.id, (w.models -> m.name)), '{}'::jsonb) AS "coalesce"
           FROM pgsbert.worker w
          WHERE ((w.models ? m.name) AND (w.seen_at > (clock_timestamp() - '00:00:15'::interval)))) AS workers
   FROM pgsbert.model m
  ORDER BY kind, name;


ALTER VIEW pgsbert.models OWNER TO postgres;

--
-- Name: VIEW models; Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON VIEW pgsbert.models IS 'Registered models; workers says for each live worker that tried: present and the engine, or why not';


--
-- Name: pending_1; Type: TABLE; Schema: pgsbert; Owner: postgres
--

CREATE TABLE pgsbert.pending_1 (
    k1 integer NOT NULL,
    revision bigint NOT NULL,
    queued_at timestamp with time zone DEFAULT now() NOT NULL
);


ALTER TABLE pgsbert.pending_1 OWNER TO postgres;

--
-- Name: TABLE pending_1; Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON TABLE pgsbert.pending_1 IS 'Rows of public.article to embed';


--
-- Name: pending_2; Type: TABLE; Schema: pgsbert; Owner: postgres
--

CREATE TABLE pgsbert.pending_2 (
    k1 integer NOT NULL,
    k2 text NOT NULL,
    revision bigint NOT NULL,
    queued_at timestamp with time zone DEFAULT now() NOT NULL
);


ALTER TABLE pgsbert.pending_2 OWNER TO postgres;

--
-- Name: TABLE pending_2; Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON TABLE pgsbert.pending_2 IS 'Rows of public.page to embed';


--
-- Name: pending_3; Type: TABLE; Schema: pgsbert; Owner: postgres
--

CREATE TABLE pgsbert.pending_3 (
    k1 integer NOT NULL,
    revision bigint NOT NULL,
    queued_at timestamp with time zone DEFAULT now() NOT NULL
);


ALTER TABLE pgsbert.pending_3 OWNER TO postgres;

--
-- Name: TABLE pending_3; Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON TABLE pgsbert.pending_3 IS 'Rows of public.quiet to embed';


--
-- Name: request; Type: TABLE; Schema: pgsbert; Owner: postgres
--

CREATE UNLOGGED TABLE pgsbert.request (
    id bigint NOT NULL,
    token uuid DEFAULT gen_random_uuid() NOT NULL,
    kind text NOT NULL,
    model text NOT NULL,
    query text,
    texts text[] NOT NULL,
    deadline timestamp with time zone NOT NULL,
    worker integer,
    done boolean DEFAULT false NOT NULL,
    vectors public.vector[],
    scores real[],
    error_code text,
    error text,
    CONSTRAINT request_kind_known CHECK ((kind = ANY (ARRAY['embed'::text, 'rerank'::text])))
);


ALTER TABLE pgsbert.request OWNER TO postgres;

--
-- Name: TABLE request; Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON TABLE pgsbert.request IS 'Questions from SQL to a model, and their replies until they are fetched';


--
-- Name: request_id_seq; Type: SEQUENCE; Schema: pgsbert; Owner: postgres
--

ALTER TABLE pgsbert.request ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME pgsbert.request_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: revision; Type: SEQUENCE; Schema: pgsbert; Owner: postgres
--

CREATE SEQUENCE pgsbert.revision
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;


ALTER SEQUENCE pgsbert.revision OWNER TO postgres;

--
-- Name: SEQUENCE revision; Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON SEQUENCE pgsbert.revision IS 'Numbers every change of a tracked text; a vector is stored only for the number it was made from';


--
-- Name: status; Type: VIEW; Schema: pgsbert; Owner: postgres
--

CREATE VIEW pgsbert.status AS
 SELECT v.name,
    v.source,
        CASE
            WHEN (v.broken_reason IS NOT NULL) THEN 'broken'::text
            WHEN v.paused THEN 'paused'::text
            WHEN (v.filled_at IS NULL) THEN 'filling'::text
            ELSE 'active'::text
        END AS state,
    COALESCE(v.broken_reason, v.index_error) AS reason,
    v.model,
    n.rows,
    q.pending,
    q.failed,
    q.oldest_pending,
    n.rate,
    ( SELECT count(*) AS count
           FROM pgsbert.worker w
          WHERE (w.seen_at > (clock_timestamp() - '00:00:15'::interval))) AS workers,
        CASE
            WHEN (v.filled_at IS NOT NULL) THEN (1)::double precision
            ELSE ((GREATEST((q.passed - q.pending), (0)::bigint))::double precision / (GREATEST(n.rows, q.passed, (1)::bigint))::double precision)
        END AS progress,
        CASE
            WHEN ((v.filled_at IS NOT NULL) AND (q.pending = 0)) THEN '00:00:00'::interval
            WHEN (n.rate > (0)::double precision) THEN make_interval(secs => (((q.pending +
            CASE
                WHEN (v.filled_at IS NULL) THEN GREATEST((n.rows - q.passed), (0)::bigint)
                ELSE (0)::bigint
            END))::double precision / n.rate))
            ELSE NULL::interval
        END AS eta
   FROM ((pgsbert.vectorizer v
     JOIN pgsbert.queue_state() q(id, pending, failed, oldest_pending, passed) ON ((q.id = v.id)))
     CROSS JOIN LATERAL ( SELECT ( SELECT COALESCE((sum(GREATEST((p.reltuples)::bigint, pg_stat_get_live_tuples(p.oid), (0)::bigint)))::bigint, (0)::bigint) AS "coalesce"
                   FROM pg_class p
                  WHERE ((p.oid = ANY (((pgsbert.leaf_partitions((v.source)::oid) || v.source))::oid[])) AND (p.relkind <> 'p'::"char"))) AS rows,
            ( SELECT COALESCE(sum(((w.rates ->> (v.id)::text))::double precision), (0)::double precision) AS "coalesce"
                   FROM pgsbert.worker w
                  WHERE (w.seen_at > (clock_timestamp() - '00:00:15'::interval))) AS rate) n)
  ORDER BY v.name;


ALTER VIEW pgsbert.status OWNER TO postgres;

--
-- Name: VIEW status; Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON VIEW pgsbert.status IS 'Each vectorizer: state (filling, active, paused, broken) with its reason, rows (PostgreSQL''s estimate), pending, failed, rows a second, live workers; how far the first fill is, and when all would be done at this rate';


--
-- Name: vectorizer_id_seq; Type: SEQUENCE; Schema: pgsbert; Owner: postgres
--

ALTER TABLE pgsbert.vectorizer ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME pgsbert.vectorizer_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: worker_id_seq; Type: SEQUENCE; Schema: pgsbert; Owner: postgres
--

ALTER TABLE pgsbert.worker ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME pgsbert.worker_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: workers; Type: VIEW; Schema: pgsbert; Owner: postgres
--

CREATE VIEW pgsbert.workers AS
 SELECT id,
    host,
    pid,
    version,
    started_at,
    seen_at,
    (seen_at > (clock_timestamp() - '00:00:15'::interval)) AS alive,
    models,
    listening,
    poll_only
   FROM pgsbert.worker w
  ORDER BY id;


ALTER VIEW pgsbert.workers OWNER TO postgres;

--
-- Name: VIEW workers; Type: COMMENT; Schema: pgsbert; Owner: postgres
--

COMMENT ON VIEW pgsbert.workers IS 'Workers with their heartbeat and what they say of each model';


--
-- Name: article_neighbors; Type: VIEW; Schema: public; Owner: postgres
--

CREATE VIEW public.article_neighbors WITH (security_invoker='true') AS
 SELECT o.id,
    n.k1 AS neighbor_id,
    n.distance
   FROM (public.article o
     CROSS JOIN LATERAL ( SELECT t.id,
            (t.embedding OPERATOR(public.<=>) o.embedding) AS float8
           FROM public.article t
          WHERE ((t.embedding IS NOT NULL) AND (NOT (t.id = o.id)))
          ORDER BY (t.embedding OPERATOR(public.<=>) o.embedding)
         LIMIT 10) n(k1, distance))
  WHERE (o.embedding IS NOT NULL);


ALTER VIEW public.article_neighbors OWNER TO postgres;

--
-- Name: VIEW article_neighbors; Type: COMMENT; Schema: public; Owner: postgres
--

COMMENT ON VIEW public.article_neighbors IS 'The ten nearest of each row; filter it by key. Made by pgsbert for "article", vectorizer 1';


--
-- Name: page_embedding; Type: TABLE; Schema: public; Owner: postgres
--

CREATE TABLE public.page_embedding (
    nr integer NOT NULL,
    lang text NOT NULL,
    embedding public.vector(8) NOT NULL
);


ALTER TABLE public.page_embedding OWNER TO postgres;

--
-- Name: TABLE page_embedding; Type: COMMENT; Schema: public; Owner: postgres
--

COMMENT ON TABLE public.page_embedding IS 'Embeddings of public.page, kept by pgsbert';


--
-- Name: page_neighbors; Type: VIEW; Schema: public; Owner: postgres
--

CREATE VIEW public.page_neighbors WITH (security_invoker='true') AS
 SELECT o.nr,
    o.lang,
    n.k1 AS neighbor_nr,
    n.k2 AS neighbor_lang,
    n.distance
   FROM (public.page_embedding o
     CROSS JOIN LATERAL ( SELECT t.nr,
            t.lang,
            (t.embedding OPERATOR(public.<=>) o.embedding) AS float8
           FROM public.page_embedding t
          WHERE ((t.embedding IS NOT NULL) AND (NOT ((t.nr = o.nr) AND (t.lang = o.lang))))
          ORDER BY (t.embedding OPERATOR(public.<=>) o.embedding)
         LIMIT 10) n(k1, k2, distance))
  WHERE (o.embedding IS NOT NULL);


ALTER VIEW public.page_neighbors OWNER TO postgres;

--
-- Name: VIEW page_neighbors; Type: COMMENT; Schema: public; Owner: postgres
--

COMMENT ON VIEW public.page_neighbors IS 'The ten nearest of each row; filter it by key. Made by pgsbert for "page", vectorizer 2';


--
-- Name: quiet_neighbors; Type: VIEW; Schema: public; Owner: postgres
--

CREATE VIEW public.quiet_neighbors WITH (security_invoker='true') AS
 SELECT o.id,
    n.k1 AS neighbor_id,
    n.distance
   FROM (public.quiet o
     CROSS JOIN LATERAL ( SELECT t.id,
            (t.embedding OPERATOR(public.<=>) o.embedding) AS float8
           FROM public.quiet t
          WHERE ((t.embedding IS NOT NULL) AND (NOT (t.id = o.id)))
          ORDER BY (t.embedding OPERATOR(public.<=>) o.embedding)
         LIMIT 10) n(k1, distance))
  WHERE (o.embedding IS NOT NULL);


ALTER VIEW public.quiet_neighbors OWNER TO postgres;

--
-- Name: VIEW quiet_neighbors; Type: COMMENT; Schema: public; Owner: postgres
--

COMMENT ON VIEW public.quiet_neighbors IS 'The ten nearest of each row; filter it by key. Made by pgsbert for "quiet", vectorizer 3';


--
-- Data for Name: fill_1; Type: TABLE DATA; Schema: pgsbert; Owner: postgres
--

COPY pgsbert.fill_1 (k1, passed) FROM stdin;
\.


--
-- Data for Name: fill_2; Type: TABLE DATA; Schema: pgsbert; Owner: postgres
--

COPY pgsbert.fill_2 (k1, k2, passed) FROM stdin;
\.


--
-- Data for Name: fill_3; Type: TABLE DATA; Schema: pgsbert; Owner: postgres
--

COPY pgsbert.fill_3 (k1, passed) FROM stdin;
\.


--
-- Data for Name: lease_1; Type: TABLE DATA; Schema: pgsbert; Owner: postgres
--

COPY pgsbert.lease_1 (k1, revision, worker, attempts, deferred, claimed_until, error_class, error, failed_at) FROM stdin;
3	3	\N	5	0	2026-11-23 19:30:06.572974+00	RuntimeError	fake:raise was in a text	2026-11-23 19:25:06.576261+00
\.


--
-- Data for Name: lease_2; Type: TABLE DATA; Schema: pgsbert; Owner: postgres
--

COPY pgsbert.lease_2 (k1, k2, revision, worker, attempts, deferred, claimed_until, error_class, error, failed_at) FROM stdin;
\.


--
-- Data for Name: lease_3; Type: TABLE DATA; Schema: pgsbert; Owner: postgres
--

COPY pgsbert.lease_3 (k1, revision, worker, attempts, deferred, claimed_until, error_class, error, failed_at) FROM stdin;
\.


--
-- Data for Name: migration; Type: TABLE DATA; Schema: pgsbert; Owner: postgres
--

COPY pgsbert.migration (version_num) FROM stdin;
0002
\.


--
-- Data for Name: model; Type: TABLE DATA; Schema: pgsbert; Owner: postgres
--

COPY pgsbert.model (name, kind, revision, hash, dimensions, max_tokens, similarity, query_prompt, document_prompt, is_default, registered_at) FROM stdin;
all-MiniLM-L6-v2	bi-encoder	\N	53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db	384	256	cosine			t	2026-11-23 19:24:52.664211+00
fake-8	bi-encoder	\N	\N	8	256	\N			f	2026-11-23 19:24:52.81192+00
\.


--
-- Data for Name: pending_1; Type: TABLE DATA; Schema: pgsbert; Owner: postgres
--

COPY pgsbert.pending_1 (k1, revision, queued_at) FROM stdin;
6	16	2026-11-23 19:25:06.646924+00
2	17	2026-11-23 19:25:06.646924+00
\.


--
-- Data for Name: pending_2; Type: TABLE DATA; Schema: pgsbert; Owner: postgres
--

COPY pgsbert.pending_2 (k1, k2, revision, queued_at) FROM stdin;
1	en	18	2026-11-23 19:25:06.646924+00
\.


--
-- Data for Name: pending_3; Type: TABLE DATA; Schema: pgsbert; Owner: postgres
--

COPY pgsbert.pending_3 (k1, revision, queued_at) FROM stdin;
1	8	2026-11-23 19:24:52.81192+00
\.


--
-- Data for Name: request; Type: TABLE DATA; Schema: pgsbert; Owner: postgres
--

COPY pgsbert.request (id, token, kind, model, query, texts, deadline, worker, done, vectors, scores, error_code, error) FROM stdin;
\.


--
-- Data for Name: vectorizer; Type: TABLE DATA; Schema: pgsbert; Owner: postgres
--

COPY pgsbert.vectorizer (id, name, source, column_names, column_numbers, key_names, key_numbers, model, storage, target, target_number, side, distance, index_method, on_change, paused, broken_reason, filled_at, index_error, stamp, created_at, template, row_triggers, swept_at, partitions, attached) FROM stdin;
3	quiet	public.quiet	{body}	{2}	{id}	{1}	fake-8	column	embedding	3	\N	cosine	none	keep	t	\N	\N	\N	7711450103339767811/16384/17254	2026-11-23 19:24:52.81192+00	\N	f	\N	{}	{}
1	article	public.article	{title,body}	{3,4}	{id}	{2}	fake-8	column	embedding	5	\N	cosine	hnsw	clear	f	\N	2026-11-23 19:24:54.026355+00	\N	7711450103339767811/16384/17125	2026-11-23 19:24:52.81192+00	\N	f	2026-11-23 19:24:54.026355+00	{}	{}
2	page	public.page	{body}	{3}	{nr,lang}	{2,1}	fake-8	table	embedding	\N	public.page_embedding	cosine	hnsw	keep	f	\N	2026-11-23 19:24:54.08891+00	\N	7711450103339767811/16384/17180	2026-11-23 19:24:52.81192+00	\N	f	2026-11-23 19:24:54.08891+00	{}	{}
\.


--
-- Data for Name: worker; Type: TABLE DATA; Schema: pgsbert; Owner: postgres
--

COPY pgsbert.worker (id, started_at, seen_at, host, pid, version, models, rates, listening, poll_only) FROM stdin;
\.


--
-- Data for Name: article; Type: TABLE DATA; Schema: public; Owner: postgres
--

COPY public.article (id, title, body, embedding) FROM stdin;
3	fake:raise	fails	\N
5		\N	\N
4	birds	\N	[-0.45643544,0.45643544,0.27386126,0.45643544,-0.27386126,-0.27386126,0.27386126,0.27386126]
1	cats	purr	[-0.06350006,0.5715006,0.06350006,0.06350006,-0.06350006,0.06350006,-0.5715006,-0.5715006]
6	pending	at the release	\N
2	hounds	bark	\N
\.


--
-- Data for Name: page; Type: TABLE DATA; Schema: public; Owner: postgres
--

COPY public.page (lang, nr, body) FROM stdin;
de	1	eins
en	1	uno
\.


--
-- Data for Name: page_embedding; Type: TABLE DATA; Schema: public; Owner: postgres
--

COPY public.page_embedding (nr, lang, embedding) FROM stdin;
1	en	[0.4287465,0.4287465,-0.2572479,0.4287465,-0.2572479,-0.2572479,-0.2572479,-0.4287465]
1	de	[0.3686049,-0.3686049,0.3686049,0.3686049,0.3686049,-0.3686049,-0.3686049,-0.22116293]
\.


--
-- Data for Name: quiet; Type: TABLE DATA; Schema: public; Owner: postgres
--

COPY public.quiet (id, body, embedding) FROM stdin;
1	nothing stirs	\N
\.


--
-- Name: request_id_seq; Type: SEQUENCE SET; Schema: pgsbert; Owner: postgres
--

SELECT pg_catalog.setval('pgsbert.request_id_seq', 1, false);


--
-- Name: revision; Type: SEQUENCE SET; Schema: pgsbert; Owner: postgres
--

SELECT pg_catalog.setval('pgsbert.revision', 18, true);


--
-- Name: vectorizer_id_seq; Type: SEQUENCE SET; Schema: pgsbert; Owner: postgres
--

SELECT pg_catalog.setval('pgsbert.vectorizer_id_seq', 3, true);


--
-- Name: worker_id_seq; Type: SEQUENCE SET; Schema: pgsbert; Owner: postgres
--

SELECT pg_catalog.setval('pgsbert.worker_id_seq', 1, true);


--
-- Name: lease_1 lease_1_pkey; Type: CONSTRAINT; Schema: pgsbert; Owner: postgres
--

ALTER TABLE ONLY pgsbert.lease_1
    ADD CONSTRAINT lease_1_pkey PRIMARY KEY (k1);


--
-- Name: lease_2 lease_2_pkey; Type: CONSTRAINT; Schema: pgsbert; Owner: postgres
--

ALTER TABLE ONLY pgsbert.lease_2
    ADD CONSTRAINT lease_2_pkey PRIMARY KEY (k1, k2);


--
-- Name: lease_3 lease_3_pkey; Type: CONSTRAINT; Schema: pgsbert; Owner: postgres
--

ALTER TABLE ONLY pgsbert.lease_3
    ADD CONSTRAINT lease_3_pkey PRIMARY KEY (k1);


--
-- Name: migration migration_pkc; Type: CONSTRAINT; Schema: pgsbert; Owner: postgres
--

ALTER TABLE ONLY pgsbert.migration
    ADD CONSTRAINT migration_pkc PRIMARY KEY (version_num);


--
-- Name: model model_pkey; Type: CONSTRAINT; Schema: pgsbert; Owner: postgres
--

ALTER TABLE ONLY pgsbert.model
    ADD CONSTRAINT model_pkey PRIMARY KEY (name);


--
-- Name: pending_1 pending_1_pkey; Type: CONSTRAINT; Schema: pgsbert; Owner: postgres
--

ALTER TABLE ONLY pgsbert.pending_1
    ADD CONSTRAINT pending_1_pkey PRIMARY KEY (k1);


--
-- Name: pending_2 pending_2_pkey; Type: CONSTRAINT; Schema: pgsbert; Owner: postgres
--

ALTER TABLE ONLY pgsbert.pending_2
    ADD CONSTRAINT pending_2_pkey PRIMARY KEY (k1, k2);


--
-- Name: pending_3 pending_3_pkey; Type: CONSTRAINT; Schema: pgsbert; Owner: postgres
--

ALTER TABLE ONLY pgsbert.pending_3
    ADD CONSTRAINT pending_3_pkey PRIMARY KEY (k1);


--
-- Name: request request_pkey; Type: CONSTRAINT; Schema: pgsbert; Owner: postgres
--

ALTER TABLE ONLY pgsbert.request
    ADD CONSTRAINT request_pkey PRIMARY KEY (id);


--
-- Name: request request_token_unique; Type: CONSTRAINT; Schema: pgsbert; Owner: postgres
--

ALTER TABLE ONLY pgsbert.request
    ADD CONSTRAINT request_token_unique UNIQUE (token);


--
-- Name: vectorizer vectorizer_name_unique; Type: CONSTRAINT; Schema: pgsbert; Owner: postgres
--

ALTER TABLE ONLY pgsbert.vectorizer
    ADD CONSTRAINT vectorizer_name_unique UNIQUE (name);


--
-- Name: vectorizer vectorizer_pkey; Type: CONSTRAINT; Schema: pgsbert; Owner: postgres
--

ALTER TABLE ONLY pgsbert.vectorizer
    ADD CONSTRAINT vectorizer_pkey PRIMARY KEY (id);


--
-- Name: worker worker_pkey; Type: CONSTRAINT; Schema: pgsbert; Owner: postgres
--

ALTER TABLE ONLY pgsbert.worker
    ADD CONSTRAINT worker_pkey PRIMARY KEY (id);


--
-- Name: article article_pkey; Type: CONSTRAINT; Schema: public; Owner: postgres
--

ALTER TABLE ONLY public.article
    ADD CONSTRAINT article_pkey PRIMARY KEY (id);


--
-- Name: page_embedding page_embedding_pkey; Type: CONSTRAINT; Schema: public; Owner: postgres
--

ALTER TABLE ONLY public.page_embedding
    ADD CONSTRAINT page_embedding_pkey PRIMARY KEY (nr, lang);


--
-- Name: page page_pkey; Type: CONSTRAINT; Schema: public; Owner: postgres
--

ALTER TABLE ONLY public.page
    ADD CONSTRAINT page_pkey PRIMARY KEY (nr, lang);


--
-- Name: quiet quiet_pkey; Type: CONSTRAINT; Schema: public; Owner: postgres
--

ALTER TABLE ONLY public.quiet
    ADD CONSTRAINT quiet_pkey PRIMARY KEY (id);


--
-- Name: lease_1_claimed_until; Type: INDEX; Schema: pgsbert; Owner: postgres
--

CREATE INDEX lease_1_claimed_until ON pgsbert.lease_1 USING btree (claimed_until) WHERE (failed_at IS NULL);


--
-- Name: lease_1_revision; Type: INDEX; Schema: pgsbert; Owner: postgres
--

CREATE UNIQUE INDEX lease_1_revision ON pgsbert.lease_1 USING btree (revision);


--
-- Name: lease_2_claimed_until; Type: INDEX; Schema: pgsbert; Owner: postgres
--

CREATE INDEX lease_2_claimed_until ON pgsbert.lease_2 USING btree (claimed_until) WHERE (failed_at IS NULL);


--
-- Name: lease_2_revision; Type: INDEX; Schema: pgsbert; Owner: postgres
--

CREATE UNIQUE INDEX lease_2_revision ON pgsbert.lease_2 USING btree (revision);


--
-- Name: lease_3_claimed_until; Type: INDEX; Schema: pgsbert; Owner: postgres
--

CREATE INDEX lease_3_claimed_until ON pgsbert.lease_3 USING btree (claimed_until) WHERE (failed_at IS NULL);


--
-- Name: lease_3_revision; Type: INDEX; Schema: pgsbert; Owner: postgres
--

CREATE UNIQUE INDEX lease_3_revision ON pgsbert.lease_3 USING btree (revision);


--
-- Name: model_default_unique; Type: INDEX; Schema: pgsbert; Owner: postgres
--

CREATE UNIQUE INDEX model_default_unique ON pgsbert.model USING btree (kind) WHERE is_default;


--
-- Name: request_unclaimed; Type: INDEX; Schema: pgsbert; Owner: postgres
--

CREATE INDEX request_unclaimed ON pgsbert.request USING btree (id) WHERE (worker IS NULL);


--
-- Name: article_embedding_idx; Type: INDEX; Schema: public; Owner: postgres
--

CREATE INDEX article_embedding_idx ON public.article USING hnsw (embedding public.vector_cosine_ops);


--
-- Name: page_embedding_embedding_idx; Type: INDEX; Schema: public; Owner: postgres
--

CREATE INDEX page_embedding_embedding_idx ON public.page_embedding USING hnsw (embedding public.vector_cosine_ops);


--
-- Name: article zzzz_pgsbert_1_clear; Type: TRIGGER; Schema: public; Owner: postgres
--

CREATE TRIGGER zzzz_pgsbert_1_clear BEFORE UPDATE ON public.article FOR EACH ROW WHEN (((new.embedding IS NOT NULL) AND ((COALESCE((new.title COLLATE "C"), ''::text) <> COALESCE((old.title COLLATE "C"), ''::text)) OR (COALESCE((new.body COLLATE "C"), ''::text) <> COALESCE((old.body COLLATE "C"), ''::text))))) EXECUTE FUNCTION pgsbert.clear_1();


--
-- Name: article zzzz_pgsbert_1_delete; Type: TRIGGER; Schema: public; Owner: postgres
--

CREATE TRIGGER zzzz_pgsbert_1_delete AFTER DELETE ON public.article REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION pgsbert.enqueue_1_delete();


--
-- Name: article zzzz_pgsbert_1_empty; Type: TRIGGER; Schema: public; Owner: postgres
--

CREATE TRIGGER zzzz_pgsbert_1_empty BEFORE UPDATE ON public.article FOR EACH ROW WHEN (((new.embedding IS NOT NULL) AND ((COALESCE(new.title, ''::text) COLLATE "C") = ''::text) AND ((COALESCE(new.body, ''::text) COLLATE "C") = ''::text))) EXECUTE FUNCTION pgsbert.clear_1();


--
-- Name: article zzzz_pgsbert_1_insert; Type: TRIGGER; Schema: public; Owner: postgres
--

CREATE TRIGGER zzzz_pgsbert_1_insert AFTER INSERT ON public.article REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION pgsbert.enqueue_1_insert();


--
-- Name: article zzzz_pgsbert_1_truncate; Type: TRIGGER; Schema: public; Owner: postgres
--

CREATE TRIGGER zzzz_pgsbert_1_truncate AFTER TRUNCATE ON public.article FOR EACH STATEMENT EXECUTE FUNCTION pgsbert.enqueue_1_truncate();


--
-- Name: article zzzz_pgsbert_1_update; Type: TRIGGER; Schema: public; Owner: postgres
--

CREATE TRIGGER zzzz_pgsbert_1_update AFTER UPDATE ON public.article REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION pgsbert.enqueue_1_update();


--
-- Name: page zzzz_pgsbert_2_delete; Type: TRIGGER; Schema: public; Owner: postgres
--

CREATE TRIGGER zzzz_pgsbert_2_delete AFTER DELETE ON public.page REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION pgsbert.enqueue_2_delete();


--
-- Name: page zzzz_pgsbert_2_insert; Type: TRIGGER; Schema: public; Owner: postgres
--

CREATE TRIGGER zzzz_pgsbert_2_insert AFTER INSERT ON public.page REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION pgsbert.enqueue_2_insert();


--
-- Name: page zzzz_pgsbert_2_truncate; Type: TRIGGER; Schema: public; Owner: postgres
--

CREATE TRIGGER zzzz_pgsbert_2_truncate AFTER TRUNCATE ON public.page FOR EACH STATEMENT EXECUTE FUNCTION pgsbert.enqueue_2_truncate();


--
-- Name: page zzzz_pgsbert_2_update; Type: TRIGGER; Schema: public; Owner: postgres
--

CREATE TRIGGER zzzz_pgsbert_2_update AFTER UPDATE ON public.page REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION pgsbert.enqueue_2_update();


--
-- Name: quiet zzzz_pgsbert_3_delete; Type: TRIGGER; Schema: public; Owner: postgres
--

CREATE TRIGGER zzzz_pgsbert_3_delete AFTER DELETE ON public.quiet REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION pgsbert.enqueue_3_delete();


--
-- Name: quiet zzzz_pgsbert_3_empty; Type: TRIGGER; Schema: public; Owner: postgres
--

CREATE TRIGGER zzzz_pgsbert_3_empty BEFORE UPDATE ON public.quiet FOR EACH ROW WHEN (((new.embedding IS NOT NULL) AND ((COALESCE(new.body, ''::text) COLLATE "C") = ''::text))) EXECUTE FUNCTION pgsbert.clear_3();


--
-- Name: quiet zzzz_pgsbert_3_insert; Type: TRIGGER; Schema: public; Owner: postgres
--

CREATE TRIGGER zzzz_pgsbert_3_insert AFTER INSERT ON public.quiet REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION pgsbert.enqueue_3_insert();


--
-- Name: quiet zzzz_pgsbert_3_truncate; Type: TRIGGER; Schema: public; Owner: postgres
--

CREATE TRIGGER zzzz_pgsbert_3_truncate AFTER TRUNCATE ON public.quiet FOR EACH STATEMENT EXECUTE FUNCTION pgsbert.enqueue_3_truncate();


--
-- Name: quiet zzzz_pgsbert_3_update; Type: TRIGGER; Schema: public; Owner: postgres
--

CREATE TRIGGER zzzz_pgsbert_3_update AFTER UPDATE ON public.quiet REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION pgsbert.enqueue_3_update();


--
-- Name: vectorizer vectorizer_model_registered; Type: FK CONSTRAINT; Schema: pgsbert; Owner: postgres
--

ALTER TABLE ONLY pgsbert.vectorizer
    ADD CONSTRAINT vectorizer_model_registered FOREIGN KEY (model) REFERENCES pgsbert.model(name);


--
-- Name: page_embedding of_source; Type: POLICY; Schema: public; Owner: postgres
--

CREATE POLICY of_source ON public.page_embedding FOR SELECT USING ((EXISTS ( SELECT
   FROM public.page s
  WHERE ((s.nr = page_embedding.nr) AND (s.lang = page_embedding.lang)))));


--
-- Name: page_embedding of_worker; Type: POLICY; Schema: public; Owner: postgres
--

CREATE POLICY of_worker ON public.page_embedding TO pgsbert_worker USING (true) WITH CHECK (true);


--
-- Name: page_embedding; Type: ROW SECURITY; Schema: public; Owner: postgres
--

ALTER TABLE public.page_embedding ENABLE ROW LEVEL SECURITY;

--
-- Name: SCHEMA pgsbert; Type: ACL; Schema: -; Owner: postgres
--

GRANT USAGE ON SCHEMA pgsbert TO pgsbert_gateway;
GRANT USAGE ON SCHEMA pgsbert TO pgsbert_worker;
GRANT USAGE ON SCHEMA pgsbert TO released_operator;


--
-- Name: FUNCTION always_fire(source regclass, prefix text); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.always_fire(source regclass, prefix text) FROM PUBLIC;
GRANT ALL ON FUNCTION pgsbert.always_fire(source regclass, prefix text) TO released_operator;


--
-- Name: FUNCTION announce(); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.announce() FROM PUBLIC;
GRANT ALL ON FUNCTION pgsbert.announce() TO released_operator;


--
-- Name: FUNCTION ask(kind text, model text, query text, texts text[], OUT vectors text, OUT scores text); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.ask(kind text, model text, query text, texts text[], OUT vectors text, OUT scores text) FROM PUBLIC;


--
-- Name: FUNCTION ask_kept(kind text, model text, query text, texts text[], OUT vectors text, OUT scores text); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.ask_kept(kind text, model text, query text, texts text[], OUT vectors text, OUT scores text) FROM PUBLIC;


--
-- Name: FUNCTION ask_once(kind text, model text, query text, texts text[], OUT vectors text, OUT scores text); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.ask_once(kind text, model text, query text, texts text[], OUT vectors text, OUT scores text) FROM PUBLIC;


--
-- Name: FUNCTION await(ticket uuid, slice interval); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.await(ticket uuid, slice interval) FROM PUBLIC;
GRANT ALL ON FUNCTION pgsbert.await(ticket uuid, slice interval) TO pgsbert_gateway;


--
-- Name: TABLE model; Type: ACL; Schema: pgsbert; Owner: postgres
--

GRANT SELECT ON TABLE pgsbert.model TO pgsbert_worker;


--
-- Name: FUNCTION bi_encoder_named(model_name text); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.bi_encoder_named(model_name text) FROM PUBLIC;
GRANT ALL ON FUNCTION pgsbert.bi_encoder_named(model_name text) TO released_operator;


--
-- Name: FUNCTION column_type(source oid, number smallint); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.column_type(source oid, number smallint) FROM PUBLIC;
GRANT ALL ON FUNCTION pgsbert.column_type(source oid, number smallint) TO pgsbert_worker;
GRANT ALL ON FUNCTION pgsbert.column_type(source oid, number smallint) TO released_operator;


--
-- Name: FUNCTION default_opclass(opclass oid); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.default_opclass(opclass oid) FROM PUBLIC;
GRANT ALL ON FUNCTION pgsbert.default_opclass(opclass oid) TO pgsbert_worker;


--
-- Name: FUNCTION key_columns(index_oid oid); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.key_columns(index_oid oid) FROM PUBLIC;
GRANT ALL ON FUNCTION pgsbert.key_columns(index_oid oid) TO pgsbert_worker;
GRANT ALL ON FUNCTION pgsbert.key_columns(index_oid oid) TO released_operator;


--
-- Name: FUNCTION opclass_operator(opclass oid, strategy integer); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.opclass_operator(opclass oid, strategy integer) FROM PUBLIC;
GRANT ALL ON FUNCTION pgsbert.opclass_operator(opclass oid, strategy integer) TO pgsbert_worker;


--
-- Name: TABLE vectorizer; Type: ACL; Schema: pgsbert; Owner: postgres
--

GRANT SELECT ON TABLE pgsbert.vectorizer TO pgsbert_worker;


--
-- Name: COLUMN vectorizer.broken_reason; Type: ACL; Schema: pgsbert; Owner: postgres
--

GRANT UPDATE(broken_reason) ON TABLE pgsbert.vectorizer TO pgsbert_worker;


--
-- Name: COLUMN vectorizer.filled_at; Type: ACL; Schema: pgsbert; Owner: postgres
--

GRANT UPDATE(filled_at) ON TABLE pgsbert.vectorizer TO pgsbert_worker;


--
-- Name: COLUMN vectorizer.index_error; Type: ACL; Schema: pgsbert; Owner: postgres
--

GRANT UPDATE(index_error) ON TABLE pgsbert.vectorizer TO pgsbert_worker;


--
-- Name: COLUMN vectorizer.swept_at; Type: ACL; Schema: pgsbert; Owner: postgres
--

GRANT UPDATE(swept_at) ON TABLE pgsbert.vectorizer TO pgsbert_worker;


--
-- Name: COLUMN vectorizer.partitions; Type: ACL; Schema: pgsbert; Owner: postgres
--

GRANT UPDATE(partitions) ON TABLE pgsbert.vectorizer TO pgsbert_worker;


--
-- Name: COLUMN vectorizer.attached; Type: ACL; Schema: pgsbert; Owner: postgres
--

GRANT UPDATE(attached) ON TABLE pgsbert.vectorizer TO pgsbert_worker;


--
-- Name: FUNCTION recognized(v pgsbert.vectorizer); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.recognized(v pgsbert.vectorizer) FROM PUBLIC;


--
-- Name: FUNCTION key_index(source oid); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.key_index(source oid) FROM PUBLIC;
GRANT ALL ON FUNCTION pgsbert.key_index(source oid) TO pgsbert_worker;
GRANT ALL ON FUNCTION pgsbert.key_index(source oid) TO released_operator;


--
-- Name: FUNCTION missing_column(v pgsbert.vectorizer); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.missing_column(v pgsbert.vectorizer) FROM PUBLIC;
GRANT ALL ON FUNCTION pgsbert.missing_column(v pgsbert.vectorizer) TO pgsbert_worker;


--
-- Name: FUNCTION stamp(source oid); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.stamp(source oid) FROM PUBLIC;


--
-- Name: FUNCTION broken_by(v pgsbert.vectorizer); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.broken_by(v pgsbert.vectorizer) FROM PUBLIC;
GRANT ALL ON FUNCTION pgsbert.broken_by(v pgsbert.vectorizer) TO pgsbert_worker;


--
-- Name: FUNCTION build_vectorizer(vectorizer_id integer, triggers text); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.build_vectorizer(vectorizer_id integer, triggers text) FROM PUBLIC;
GRANT ALL ON FUNCTION pgsbert.build_vectorizer(vectorizer_id integer, triggers text) TO released_operator;


--
-- Name: FUNCTION caller(); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.caller() FROM PUBLIC;
GRANT ALL ON FUNCTION pgsbert.caller() TO released_operator;


--
-- Name: FUNCTION check_columns(source regclass, columns text[]); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.check_columns(source regclass, columns text[]) FROM PUBLIC;


--
-- Name: FUNCTION check_names(vectorizer_id integer, names text); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.check_names(vectorizer_id integer, names text) FROM PUBLIC;
GRANT ALL ON FUNCTION pgsbert.check_names(vectorizer_id integer, names text) TO pgsbert_worker;


--
-- Name: FUNCTION check_option(option text, value text, allowed text[]); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.check_option(option text, value text, allowed text[]) FROM PUBLIC;


--
-- Name: FUNCTION check_owner(source oid); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.check_owner(source oid) FROM PUBLIC;
GRANT ALL ON FUNCTION pgsbert.check_owner(source oid) TO released_operator;


--
-- Name: FUNCTION check_reranker(model text); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.check_reranker(model text) FROM PUBLIC;
GRANT ALL ON FUNCTION pgsbert.check_reranker(model text) TO released_operator;


--
-- Name: FUNCTION check_role(role text); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.check_role(role text) FROM PUBLIC;


--
-- Name: FUNCTION check_search(query text, k integer, rerank boolean, candidates integer); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.check_search(query text, k integer, rerank boolean, candidates integer) FROM PUBLIC;
GRANT ALL ON FUNCTION pgsbert.check_search(query text, k integer, rerank boolean, candidates integer) TO released_operator;


--
-- Name: FUNCTION check_searchable(v pgsbert.vectorizer, rerank boolean); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.check_searchable(v pgsbert.vectorizer, rerank boolean) FROM PUBLIC;


--
-- Name: FUNCTION check_source(source regclass); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.check_source(source regclass) FROM PUBLIC;


--
-- Name: FUNCTION check_target(source regclass, target text, model pgsbert.model); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.check_target(source regclass, target text, model pgsbert.model) FROM PUBLIC;


--
-- Name: FUNCTION check_text(content text); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.check_text(content text) FROM PUBLIC;
GRANT ALL ON FUNCTION pgsbert.check_text(content text) TO released_operator;


--
-- Name: FUNCTION clear_1(); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.clear_1() FROM PUBLIC;


--
-- Name: FUNCTION clear_2(); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.clear_2() FROM PUBLIC;


--
-- Name: FUNCTION clear_3(); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.clear_3() FROM PUBLIC;


--
-- Name: FUNCTION clear_body(v pgsbert.vectorizer); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.clear_body(v pgsbert.vectorizer) FROM PUBLIC;


--
-- Name: FUNCTION connect_gateway(); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.connect_gateway() FROM PUBLIC;


--
-- Name: FUNCTION conninfo_quoted(value text); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.conninfo_quoted(value text) FROM PUBLIC;


--
-- Name: FUNCTION create_queue(v pgsbert.vectorizer); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.create_queue(v pgsbert.vectorizer) FROM PUBLIC;


--
-- Name: FUNCTION create_row_trigger_functions(v pgsbert.vectorizer); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.create_row_trigger_functions(v pgsbert.vectorizer) FROM PUBLIC;


--
-- Name: FUNCTION create_row_triggers(v pgsbert.vectorizer, prefix text); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.create_row_triggers(v pgsbert.vectorizer, prefix text) FROM PUBLIC;
GRANT ALL ON FUNCTION pgsbert.create_row_triggers(v pgsbert.vectorizer, prefix text) TO released_operator;


--
-- Name: FUNCTION create_search(v pgsbert.vectorizer); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.create_search(v pgsbert.vectorizer) FROM PUBLIC;
GRANT ALL ON FUNCTION pgsbert.create_search(v pgsbert.vectorizer) TO released_operator;


--
-- Name: FUNCTION create_side(v pgsbert.vectorizer); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.create_side(v pgsbert.vectorizer) FROM PUBLIC;
GRANT ALL ON FUNCTION pgsbert.create_side(v pgsbert.vectorizer) TO released_operator;


--
-- Name: FUNCTION create_trigger_functions(v pgsbert.vectorizer); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.create_trigger_functions(v pgsbert.vectorizer) FROM PUBLIC;


--
-- Name: FUNCTION create_triggers(v pgsbert.vectorizer); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.create_triggers(v pgsbert.vectorizer) FROM PUBLIC;
GRANT ALL ON FUNCTION pgsbert.create_triggers(v pgsbert.vectorizer) TO released_operator;


--
-- Name: FUNCTION create_vectorizer(source regclass, columns text[], template text, name text, model text, storage text, target text, distance text, index text, on_change text, if_not_exists boolean, triggers text); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.create_vectorizer(source regclass, columns text[], template text, name text, model text, storage text, target text, distance text, index text, on_change text, if_not_exists boolean, triggers text) FROM PUBLIC;
GRANT ALL ON FUNCTION pgsbert.create_vectorizer(source regclass, columns text[], template text, name text, model text, storage text, target text, distance text, index text, on_change text, if_not_exists boolean, triggers text) TO released_operator;


--
-- Name: FUNCTION discard_failures(name text); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.discard_failures(name text) FROM PUBLIC;
GRANT ALL ON FUNCTION pgsbert.discard_failures(name text) TO released_operator;


--
-- Name: FUNCTION target_name(v pgsbert.vectorizer); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.target_name(v pgsbert.vectorizer) FROM PUBLIC;
GRANT ALL ON FUNCTION pgsbert.target_name(v pgsbert.vectorizer) TO pgsbert_worker;
GRANT ALL ON FUNCTION pgsbert.target_name(v pgsbert.vectorizer) TO released_operator;


--
-- Name: FUNCTION vector_type(); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.vector_type() FROM PUBLIC;
GRANT ALL ON FUNCTION pgsbert.vector_type() TO pgsbert_worker;
GRANT ALL ON FUNCTION pgsbert.vector_type() TO released_operator;


--
-- Name: FUNCTION vector_schema(); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.vector_schema() FROM PUBLIC;
GRANT ALL ON FUNCTION pgsbert.vector_schema() TO pgsbert_worker;
GRANT ALL ON FUNCTION pgsbert.vector_schema() TO released_operator;


--
-- Name: FUNCTION distance_expression(v pgsbert.vectorizer, other text); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.distance_expression(v pgsbert.vectorizer, other text) FROM PUBLIC;


--
-- Name: FUNCTION document_expression(v pgsbert.vectorizer, alias text); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.document_expression(v pgsbert.vectorizer, alias text) FROM PUBLIC;
GRANT ALL ON FUNCTION pgsbert.document_expression(v pgsbert.vectorizer, alias text) TO pgsbert_worker;


--
-- Name: FUNCTION drop_orphaned_queues(source oid, vectorizer_id integer); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.drop_orphaned_queues(source oid, vectorizer_id integer) FROM PUBLIC;


--
-- Name: FUNCTION drop_orphans(v pgsbert.vectorizer); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.drop_orphans(v pgsbert.vectorizer) FROM PUBLIC;
GRANT ALL ON FUNCTION pgsbert.drop_orphans(v pgsbert.vectorizer) TO released_operator;


--
-- Name: FUNCTION drop_search(v pgsbert.vectorizer); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.drop_search(v pgsbert.vectorizer) FROM PUBLIC;
GRANT ALL ON FUNCTION pgsbert.drop_search(v pgsbert.vectorizer) TO released_operator;


--
-- Name: FUNCTION drop_vectorizer(name text, drop_vectors boolean, if_exists boolean); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.drop_vectorizer(name text, drop_vectors boolean, if_exists boolean) FROM PUBLIC;
GRANT ALL ON FUNCTION pgsbert.drop_vectorizer(name text, drop_vectors boolean, if_exists boolean) TO released_operator;


--
-- Name: FUNCTION embed(contents text[], model text); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.embed(contents text[], model text) FROM PUBLIC;
GRANT ALL ON FUNCTION pgsbert.embed(contents text[], model text) TO released_operator;


--
-- Name: FUNCTION embed(content text, model text); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.embed(content text, model text) FROM PUBLIC;
GRANT ALL ON FUNCTION pgsbert.embed(content text, model text) TO released_operator;


--
-- Name: FUNCTION vectorizer_named(vectorizer_name text); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.vectorizer_named(vectorizer_name text) FROM PUBLIC;


--
-- Name: FUNCTION find_vectorizer(vectorizer_name text); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.find_vectorizer(vectorizer_name text) FROM PUBLIC;
GRANT ALL ON FUNCTION pgsbert.find_vectorizer(vectorizer_name text) TO released_operator;


--
-- Name: FUNCTION embed_for(vectorizer text, content text); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.embed_for(vectorizer text, content text) FROM PUBLIC;
GRANT ALL ON FUNCTION pgsbert.embed_for(vectorizer text, content text) TO released_operator;


--
-- Name: FUNCTION enqueue_1_delete(); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.enqueue_1_delete() FROM PUBLIC;


--
-- Name: FUNCTION enqueue_1_insert(); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.enqueue_1_insert() FROM PUBLIC;


--
-- Name: FUNCTION enqueue_1_truncate(); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.enqueue_1_truncate() FROM PUBLIC;


--
-- Name: FUNCTION enqueue_1_update(); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.enqueue_1_update() FROM PUBLIC;


--
-- Name: FUNCTION enqueue_2_delete(); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.enqueue_2_delete() FROM PUBLIC;


--
-- Name: FUNCTION enqueue_2_insert(); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.enqueue_2_insert() FROM PUBLIC;


--
-- Name: FUNCTION enqueue_2_truncate(); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.enqueue_2_truncate() FROM PUBLIC;


--
-- Name: FUNCTION enqueue_2_update(); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.enqueue_2_update() FROM PUBLIC;


--
-- Name: FUNCTION enqueue_3_delete(); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.enqueue_3_delete() FROM PUBLIC;


--
-- Name: FUNCTION enqueue_3_insert(); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.enqueue_3_insert() FROM PUBLIC;


--
-- Name: FUNCTION enqueue_3_truncate(); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.enqueue_3_truncate() FROM PUBLIC;


--
-- Name: FUNCTION enqueue_3_update(); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.enqueue_3_update() FROM PUBLIC;


--
-- Name: FUNCTION enqueue_anew(vectorizer_id integer, operation text); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.enqueue_anew(vectorizer_id integer, operation text) FROM PUBLIC;


--
-- Name: FUNCTION enqueue_row_sql(v pgsbert.vectorizer, operation text, row_alias text); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.enqueue_row_sql(v pgsbert.vectorizer, operation text, row_alias text) FROM PUBLIC;


--
-- Name: FUNCTION enqueue_sql(v pgsbert.vectorizer, operation text); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.enqueue_sql(v pgsbert.vectorizer, operation text) FROM PUBLIC;


--
-- Name: FUNCTION failed_rows(); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.failed_rows() FROM PUBLIC;
GRANT ALL ON FUNCTION pgsbert.failed_rows() TO released_operator;


--
-- Name: FUNCTION free_name(wanted text, taken text[]); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.free_name(wanted text, taken text[]) FROM PUBLIC;
GRANT ALL ON FUNCTION pgsbert.free_name(wanted text, taken text[]) TO released_operator;


--
-- Name: FUNCTION functions_of(level text); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.functions_of(level text) FROM PUBLIC;


--
-- Name: FUNCTION gateway_address(); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.gateway_address() FROM PUBLIC;


--
-- Name: FUNCTION gateway_options(); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.gateway_options() FROM PUBLIC;


--
-- Name: FUNCTION grant_to_owner(v pgsbert.vectorizer); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.grant_to_owner(v pgsbert.vectorizer) FROM PUBLIC;


--
-- Name: FUNCTION grant_to_worker(v pgsbert.vectorizer); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.grant_to_worker(v pgsbert.vectorizer) FROM PUBLIC;
GRANT ALL ON FUNCTION pgsbert.grant_to_worker(v pgsbert.vectorizer) TO released_operator;


--
-- Name: FUNCTION grant_usage(role text, level text); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.grant_usage(role text, level text) FROM PUBLIC;


--
-- Name: FUNCTION grant_usage_again(); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.grant_usage_again() FROM PUBLIC;


--
-- Name: FUNCTION halt_index_builds(source oid); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.halt_index_builds(source oid) FROM PUBLIC;


--
-- Name: FUNCTION hidden_by(source oid, worker name); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.hidden_by(source oid, worker name) FROM PUBLIC;


--
-- Name: FUNCTION made_for(v pgsbert.vectorizer); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.made_for(v pgsbert.vectorizer) FROM PUBLIC;
GRANT ALL ON FUNCTION pgsbert.made_for(v pgsbert.vectorizer) TO released_operator;


--
-- Name: FUNCTION is_ours(comment text, v pgsbert.vectorizer); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.is_ours(comment text, v pgsbert.vectorizer) FROM PUBLIC;
GRANT ALL ON FUNCTION pgsbert.is_ours(comment text, v pgsbert.vectorizer) TO released_operator;


--
-- Name: FUNCTION is_synced(name text); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.is_synced(name text) FROM PUBLIC;
GRANT ALL ON FUNCTION pgsbert.is_synced(name text) TO released_operator;


--
-- Name: FUNCTION is_vectorizer(vectorizer_name text); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.is_vectorizer(vectorizer_name text) FROM PUBLIC;
GRANT ALL ON FUNCTION pgsbert.is_vectorizer(vectorizer_name text) TO released_operator;


--
-- Name: FUNCTION item_expression(v pgsbert.vectorizer); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.item_expression(v pgsbert.vectorizer) FROM PUBLIC;


--
-- Name: FUNCTION judge_vectorizers(); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.judge_vectorizers() FROM PUBLIC;
GRANT ALL ON FUNCTION pgsbert.judge_vectorizers() TO pgsbert_worker;


--
-- Name: FUNCTION keeps_connection(); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.keeps_connection() FROM PUBLIC;


--
-- Name: FUNCTION key_order(index_oid oid); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.key_order(index_oid oid) FROM PUBLIC;
GRANT ALL ON FUNCTION pgsbert.key_order(index_oid oid) TO pgsbert_worker;


--
-- Name: FUNCTION leaf_partitions(source oid); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.leaf_partitions(source oid) FROM PUBLIC;
GRANT ALL ON FUNCTION pgsbert.leaf_partitions(source oid) TO pgsbert_worker;
GRANT ALL ON FUNCTION pgsbert.leaf_partitions(source oid) TO released_operator;


--
-- Name: FUNCTION leave_table(v pgsbert.vectorizer); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.leave_table(v pgsbert.vectorizer) FROM PUBLIC;
GRANT ALL ON FUNCTION pgsbert.leave_table(v pgsbert.vectorizer) TO released_operator;


--
-- Name: FUNCTION leave_to_worker(vectorizer_id integer, key text[]); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.leave_to_worker(vectorizer_id integer, key text[]) FROM PUBLIC;


--
-- Name: FUNCTION limit_lock_waits(); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.limit_lock_waits() FROM PUBLIC;
GRANT ALL ON FUNCTION pgsbert.limit_lock_waits() TO released_operator;


--
-- Name: FUNCTION live_columns(v pgsbert.vectorizer); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.live_columns(v pgsbert.vectorizer) FROM PUBLIC;


--
-- Name: TABLE worker; Type: ACL; Schema: pgsbert; Owner: postgres
--

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE pgsbert.worker TO pgsbert_worker;


--
-- Name: FUNCTION live_worker_seen(); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.live_worker_seen() FROM PUBLIC;


--
-- Name: FUNCTION make_trigger_function(v pgsbert.vectorizer, function_name text, settings text, body text); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.make_trigger_function(v pgsbert.vectorizer, function_name text, settings text, body text) FROM PUBLIC;


--
-- Name: FUNCTION mark_broken(vectorizer_id integer, reason text); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.mark_broken(vectorizer_id integer, reason text) FROM PUBLIC;


--
-- Name: FUNCTION mend_triggers(v pgsbert.vectorizer, broken boolean); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.mend_triggers(v pgsbert.vectorizer, broken boolean) FROM PUBLIC;


--
-- Name: FUNCTION model_for(kind text, model text); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.model_for(kind text, model text) FROM PUBLIC;


--
-- Name: FUNCTION names_of(v pgsbert.vectorizer); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.names_of(v pgsbert.vectorizer) FROM PUBLIC;
GRANT ALL ON FUNCTION pgsbert.names_of(v pgsbert.vectorizer) TO pgsbert_worker;


--
-- Name: FUNCTION names_of(relation oid, numbers smallint[], known name[]); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.names_of(relation oid, numbers smallint[], known name[]) FROM PUBLIC;


--
-- Name: FUNCTION narrow_scan(ef_search text, iterative_scan text); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.narrow_scan(ef_search text, iterative_scan text) FROM PUBLIC;
GRANT ALL ON FUNCTION pgsbert.narrow_scan(ef_search text, iterative_scan text) TO released_operator;


--
-- Name: FUNCTION needs_worker(); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.needs_worker() FROM PUBLIC;
GRANT ALL ON FUNCTION pgsbert.needs_worker() TO pgsbert_worker;


--
-- Name: FUNCTION neighbors_sql(v pgsbert.vectorizer); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.neighbors_sql(v pgsbert.vectorizer) FROM PUBLIC;
GRANT ALL ON FUNCTION pgsbert.neighbors_sql(v pgsbert.vectorizer) TO released_operator;


--
-- Name: FUNCTION numbers_of(relation oid, names name[]); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.numbers_of(relation oid, names name[]) FROM PUBLIC;


--
-- Name: FUNCTION open_gateway(); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.open_gateway() FROM PUBLIC;


--
-- Name: FUNCTION orphans(v pgsbert.vectorizer); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.orphans(v pgsbert.vectorizer) FROM PUBLIC;
GRANT ALL ON FUNCTION pgsbert.orphans(v pgsbert.vectorizer) TO released_operator;


--
-- Name: FUNCTION trigger_owner(v pgsbert.vectorizer); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.trigger_owner(v pgsbert.vectorizer) FROM PUBLIC;


--
-- Name: FUNCTION owner_lacks_grants(v pgsbert.vectorizer); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.owner_lacks_grants(v pgsbert.vectorizer) FROM PUBLIC;


--
-- Name: FUNCTION pause_vectorizer(name text); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.pause_vectorizer(name text) FROM PUBLIC;
GRANT ALL ON FUNCTION pgsbert.pause_vectorizer(name text) TO released_operator;


--
-- Name: FUNCTION put(kind text, model text, query text, texts text[], patience interval); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.put(kind text, model text, query text, texts text[], patience interval) FROM PUBLIC;
GRANT ALL ON FUNCTION pgsbert.put(kind text, model text, query text, texts text[], patience interval) TO pgsbert_gateway;


--
-- Name: FUNCTION queue_state(); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.queue_state() FROM PUBLIC;
GRANT ALL ON FUNCTION pgsbert.queue_state() TO pgsbert_worker;
GRANT ALL ON FUNCTION pgsbert.queue_state() TO released_operator;


--
-- Name: FUNCTION raise_held(source regclass); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.raise_held(source regclass) FROM PUBLIC;
GRANT ALL ON FUNCTION pgsbert.raise_held(source regclass) TO released_operator;


--
-- Name: FUNCTION read_template(template text, OUT columns text[], OUT by_position text); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.read_template(template text, OUT columns text[], OUT by_position text) FROM PUBLIC;


--
-- Name: FUNCTION recover(v pgsbert.vectorizer); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.recover(v pgsbert.vectorizer) FROM PUBLIC;


--
-- Name: FUNCTION refit(vectorizer_id integer); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.refit(vectorizer_id integer) FROM PUBLIC;


--
-- Name: FUNCTION refresh(name text); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.refresh(name text) FROM PUBLIC;
GRANT ALL ON FUNCTION pgsbert.refresh(name text) TO released_operator;


--
-- Name: FUNCTION register_side(vectorizer_id integer, side regclass); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.register_side(vectorizer_id integer, side regclass) FROM PUBLIC;
GRANT ALL ON FUNCTION pgsbert.register_side(vectorizer_id integer, side regclass) TO released_operator;


--
-- Name: FUNCTION register_vectorizer(source regclass, columns text[], template text, name text, model text, storage text, target text, distance text, index text, on_change text); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.register_vectorizer(source regclass, columns text[], template text, name text, model text, storage text, target text, distance text, index text, on_change text) FROM PUBLIC;
GRANT ALL ON FUNCTION pgsbert.register_vectorizer(source regclass, columns text[], template text, name text, model text, storage text, target text, distance text, index text, on_change text) TO released_operator;


--
-- Name: FUNCTION renew(v pgsbert.vectorizer); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.renew(v pgsbert.vectorizer) FROM PUBLIC;


--
-- Name: FUNCTION renew_search(v pgsbert.vectorizer); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.renew_search(v pgsbert.vectorizer) FROM PUBLIC;


--
-- Name: FUNCTION renew_vectorizers(); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.renew_vectorizers() FROM PUBLIC;


--
-- Name: FUNCTION renumber_queue(vectorizer_id integer); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.renumber_queue(vectorizer_id integer) FROM PUBLIC;


--
-- Name: FUNCTION rerank(query text, documents text[], model text, top_k integer); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.rerank(query text, documents text[], model text, top_k integer) FROM PUBLIC;
GRANT ALL ON FUNCTION pgsbert.rerank(query text, documents text[], model text, top_k integer) TO released_operator;


--
-- Name: FUNCTION resume_vectorizer(name text); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.resume_vectorizer(name text) FROM PUBLIC;
GRANT ALL ON FUNCTION pgsbert.resume_vectorizer(name text) TO released_operator;


--
-- Name: FUNCTION retry_failures(name text); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.retry_failures(name text) FROM PUBLIC;
GRANT ALL ON FUNCTION pgsbert.retry_failures(name text) TO released_operator;


--
-- Name: FUNCTION revoke_usage(role text); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.revoke_usage(role text) FROM PUBLIC;


--
-- Name: FUNCTION row_key_sql(v pgsbert.vectorizer); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.row_key_sql(v pgsbert.vectorizer) FROM PUBLIC;


--
-- Name: FUNCTION side_unmoved_sql(v pgsbert.vectorizer); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.side_unmoved_sql(v pgsbert.vectorizer) FROM PUBLIC;


--
-- Name: FUNCTION row_unmoved_sql(v pgsbert.vectorizer); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.row_unmoved_sql(v pgsbert.vectorizer) FROM PUBLIC;


--
-- Name: FUNCTION schema_version(); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.schema_version() FROM PUBLIC;
GRANT ALL ON FUNCTION pgsbert.schema_version() TO pgsbert_worker;


--
-- Name: FUNCTION search(vectorizer text, query text, k integer, rerank boolean, candidates integer); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.search(vectorizer text, query text, k integer, rerank boolean, candidates integer) FROM PUBLIC;
GRANT ALL ON FUNCTION pgsbert.search(vectorizer text, query text, k integer, rerank boolean, candidates integer) TO released_operator;


--
-- Name: FUNCTION search_body(v pgsbert.vectorizer); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.search_body(v pgsbert.vectorizer) FROM PUBLIC;
GRANT ALL ON FUNCTION pgsbert.search_body(v pgsbert.vectorizer) TO released_operator;


--
-- Name: FUNCTION search_sql(vectorizer_id integer, item text, rerank boolean); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.search_sql(vectorizer_id integer, item text, rerank boolean) FROM PUBLIC;
GRANT ALL ON FUNCTION pgsbert.search_sql(vectorizer_id integer, item text, rerank boolean) TO released_operator;


--
-- Name: FUNCTION side_match(v pgsbert.vectorizer, source_alias text, side_alias text); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.side_match(v pgsbert.vectorizer, source_alias text, side_alias text) FROM PUBLIC;
GRANT ALL ON FUNCTION pgsbert.side_match(v pgsbert.vectorizer, source_alias text, side_alias text) TO released_operator;


--
-- Name: FUNCTION side_match_by_number(v pgsbert.vectorizer, side_alias text, transition_alias text); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.side_match_by_number(v pgsbert.vectorizer, side_alias text, transition_alias text) FROM PUBLIC;


--
-- Name: FUNCTION similar_sql(vectorizer_id integer); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.similar_sql(vectorizer_id integer) FROM PUBLIC;
GRANT ALL ON FUNCTION pgsbert.similar_sql(vectorizer_id integer) TO released_operator;


--
-- Name: FUNCTION similar_to(vectorizer text, key text[], k integer); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.similar_to(vectorizer text, key text[], k integer) FROM PUBLIC;
GRANT ALL ON FUNCTION pgsbert.similar_to(vectorizer text, key text[], k integer) TO released_operator;


--
-- Name: FUNCTION similarity(a text, b text, model text); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.similarity(a text, b text, model text) FROM PUBLIC;
GRANT ALL ON FUNCTION pgsbert.similarity(a text, b text, model text) TO released_operator;


--
-- Name: FUNCTION sweep(name text); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.sweep(name text) FROM PUBLIC;
GRANT ALL ON FUNCTION pgsbert.sweep(name text) TO released_operator;


--
-- Name: FUNCTION text_of(source oid, number smallint, alias text); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.text_of(source oid, number smallint, alias text) FROM PUBLIC;


--
-- Name: FUNCTION unmoved_sql(v pgsbert.vectorizer); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.unmoved_sql(v pgsbert.vectorizer) FROM PUBLIC;


--
-- Name: FUNCTION triggers_fit(v pgsbert.vectorizer); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.triggers_fit(v pgsbert.vectorizer) FROM PUBLIC;


--
-- Name: FUNCTION unregister_vectorizer(vectorizer_name text); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.unregister_vectorizer(vectorizer_name text) FROM PUBLIC;
GRANT ALL ON FUNCTION pgsbert.unregister_vectorizer(vectorizer_name text) TO released_operator;


--
-- Name: FUNCTION vector_key(v pgsbert.vectorizer); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.vector_key(v pgsbert.vectorizer) FROM PUBLIC;
GRANT ALL ON FUNCTION pgsbert.vector_key(v pgsbert.vectorizer) TO released_operator;


--
-- Name: FUNCTION vector_relation(v pgsbert.vectorizer); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.vector_relation(v pgsbert.vectorizer) FROM PUBLIC;


--
-- Name: FUNCTION vectorizer_exists(vectorizer_name text, source regclass); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.vectorizer_exists(vectorizer_name text, source regclass) FROM PUBLIC;
GRANT ALL ON FUNCTION pgsbert.vectorizer_exists(vectorizer_name text, source regclass) TO released_operator;


--
-- Name: FUNCTION vectorizer_numbered(vectorizer_id integer); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.vectorizer_numbered(vectorizer_id integer) FROM PUBLIC;


--
-- Name: PROCEDURE wait_until_synced(IN name text, IN timeout interval); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON PROCEDURE pgsbert.wait_until_synced(IN name text, IN timeout interval) FROM PUBLIC;
GRANT ALL ON PROCEDURE pgsbert.wait_until_synced(IN name text, IN timeout interval) TO released_operator;


--
-- Name: FUNCTION wake(); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.wake() FROM PUBLIC;


--
-- Name: FUNCTION wants_row_triggers(source regclass, triggers text); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.wants_row_triggers(source regclass, triggers text) FROM PUBLIC;


--
-- Name: FUNCTION widen_scan(wanted integer, OUT ef_search text, OUT iterative_scan text); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.widen_scan(wanted integer, OUT ef_search text, OUT iterative_scan text) FROM PUBLIC;
GRANT ALL ON FUNCTION pgsbert.widen_scan(wanted integer, OUT ef_search text, OUT iterative_scan text) TO released_operator;


--
-- Name: FUNCTION worker_columns(v pgsbert.vectorizer); Type: ACL; Schema: pgsbert; Owner: postgres
--

REVOKE ALL ON FUNCTION pgsbert.worker_columns(v pgsbert.vectorizer) FROM PUBLIC;
GRANT ALL ON FUNCTION pgsbert.worker_columns(v pgsbert.vectorizer) TO released_operator;


--
-- Name: COLUMN article.id; Type: ACL; Schema: public; Owner: postgres
--

GRANT SELECT(id) ON TABLE public.article TO pgsbert_worker;


--
-- Name: COLUMN article.title; Type: ACL; Schema: public; Owner: postgres
--

GRANT SELECT(title) ON TABLE public.article TO pgsbert_worker;


--
-- Name: COLUMN article.body; Type: ACL; Schema: public; Owner: postgres
--

GRANT SELECT(body) ON TABLE public.article TO pgsbert_worker;


--
-- Name: COLUMN article.embedding; Type: ACL; Schema: public; Owner: postgres
--

GRANT SELECT(embedding),UPDATE(embedding) ON TABLE public.article TO pgsbert_worker;


--
-- Name: COLUMN page.lang; Type: ACL; Schema: public; Owner: postgres
--

GRANT SELECT(lang) ON TABLE public.page TO pgsbert_worker;


--
-- Name: COLUMN page.nr; Type: ACL; Schema: public; Owner: postgres
--

GRANT SELECT(nr) ON TABLE public.page TO pgsbert_worker;


--
-- Name: COLUMN page.body; Type: ACL; Schema: public; Owner: postgres
--

GRANT SELECT(body) ON TABLE public.page TO pgsbert_worker;


--
-- Name: COLUMN quiet.id; Type: ACL; Schema: public; Owner: postgres
--

GRANT SELECT(id) ON TABLE public.quiet TO pgsbert_worker;


--
-- Name: COLUMN quiet.body; Type: ACL; Schema: public; Owner: postgres
--

GRANT SELECT(body) ON TABLE public.quiet TO pgsbert_worker;


--
-- Name: COLUMN quiet.embedding; Type: ACL; Schema: public; Owner: postgres
--

GRANT SELECT(embedding),UPDATE(embedding) ON TABLE public.quiet TO pgsbert_worker;


--
-- Name: TABLE failures; Type: ACL; Schema: pgsbert; Owner: postgres
--

GRANT SELECT ON TABLE pgsbert.failures TO released_operator;


--
-- Name: TABLE fill_1; Type: ACL; Schema: pgsbert; Owner: postgres
--

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE pgsbert.fill_1 TO pgsbert_worker;


--
-- Name: TABLE fill_2; Type: ACL; Schema: pgsbert; Owner: postgres
--

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE pgsbert.fill_2 TO pgsbert_worker;


--
-- Name: TABLE fill_3; Type: ACL; Schema: pgsbert; Owner: postgres
--

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE pgsbert.fill_3 TO pgsbert_worker;


--
-- Name: TABLE lease_1; Type: ACL; Schema: pgsbert; Owner: postgres
--

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE pgsbert.lease_1 TO pgsbert_worker;


--
-- Name: TABLE lease_2; Type: ACL; Schema: pgsbert; Owner: postgres
--

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE pgsbert.lease_2 TO pgsbert_worker;


--
-- Name: TABLE lease_3; Type: ACL; Schema: pgsbert; Owner: postgres
--

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE pgsbert.lease_3 TO pgsbert_worker;


--
-- Name: TABLE migration; Type: ACL; Schema: pgsbert; Owner: postgres
--

GRANT SELECT ON TABLE pgsbert.migration TO pgsbert_worker;


--
-- Name: TABLE models; Type: ACL; Schema: pgsbert; Owner: postgres
--

GRANT SELECT ON TABLE pgsbert.models TO released_operator;


--
-- Name: TABLE pending_1; Type: ACL; Schema: pgsbert; Owner: postgres
--

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE pgsbert.pending_1 TO pgsbert_worker;


--
-- Name: TABLE pending_2; Type: ACL; Schema: pgsbert; Owner: postgres
--

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE pgsbert.pending_2 TO pgsbert_worker;


--
-- Name: TABLE pending_3; Type: ACL; Schema: pgsbert; Owner: postgres
--

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE pgsbert.pending_3 TO pgsbert_worker;


--
-- Name: TABLE request; Type: ACL; Schema: pgsbert; Owner: postgres
--

GRANT SELECT,DELETE,UPDATE ON TABLE pgsbert.request TO pgsbert_worker;


--
-- Name: SEQUENCE revision; Type: ACL; Schema: pgsbert; Owner: postgres
--

GRANT SELECT,USAGE ON SEQUENCE pgsbert.revision TO pgsbert_worker;


--
-- Name: TABLE status; Type: ACL; Schema: pgsbert; Owner: postgres
--

GRANT SELECT ON TABLE pgsbert.status TO released_operator;


--
-- Name: TABLE workers; Type: ACL; Schema: pgsbert; Owner: postgres
--

GRANT SELECT ON TABLE pgsbert.workers TO released_operator;


--
-- Name: TABLE article_neighbors; Type: ACL; Schema: public; Owner: postgres
--

GRANT SELECT ON TABLE public.article_neighbors TO PUBLIC;


--
-- Name: TABLE page_embedding; Type: ACL; Schema: public; Owner: postgres
--

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.page_embedding TO pgsbert_worker;


--
-- Name: TABLE page_neighbors; Type: ACL; Schema: public; Owner: postgres
--

GRANT SELECT ON TABLE public.page_neighbors TO PUBLIC;


--
-- Name: TABLE quiet_neighbors; Type: ACL; Schema: public; Owner: postgres
--

GRANT SELECT ON TABLE public.quiet_neighbors TO PUBLIC;


--
-- PostgreSQL database dump complete
--

\unrestrict 4fnxUz0Sxgn3i829J2jGIOC3mD6607sMcdiNNJW5O7OJfrrDUa1aeNzZuzygSdW

