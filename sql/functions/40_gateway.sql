-- A question, from SQL to a model and back. NOTIFY leaves at commit, so a function cannot ask anybody inside its own
-- transaction: it asks over a loopback connection, kept for the session, that commits on its own.
--
-- put() and await() are all that the gateway role may call. The loopback connection is shared by every role of a
-- session, so a reply is found by an unguessable token only.

create or replace function pgsbert.service_of(kind text) returns text
language sql immutable
set search_path = pg_catalog, pg_temp
return case when kind in ('embed', 'embed_image') then 'embed' else 'rerank' end;
comment on function pgsbert.service_of(text) is 'What a worker must serve (--serve) to answer a question of a kind';

create or replace function pgsbert.check_served(service text) returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    last_seen timestamptz;
    is_live boolean;
    others boolean;
begin
    select
        max(seen_at) filter (where service = any (serves)),
        coalesce(bool_or(seen_at > clock_timestamp() - interval '15 seconds') filter (where service = any (serves)), false),
        coalesce(bool_or(seen_at > clock_timestamp() - interval '15 seconds'), false)
    into last_seen, is_live, others
    from pgsbert.worker;
    if not is_live then
        raise exception using errcode = 'PB001',
            message = format(
                'no worker%s has been seen%s: start one with pgsbert worker%s',
                case when others then ' that serves ' || service end,
                ' for ' || date_trunc('second', clock_timestamp() - last_seen),
                case when others then ' --serve ' || service end
            );
    end if;
end;
$$;
comment on function pgsbert.check_served(text) is 'Raises PB001 unless a worker that serves it has been seen in the last 15 seconds';

create or replace function pgsbert.model_for(kind text, model text) returns pgsbert.model
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    wanted text := case
        when kind in ('embed', 'embed_image') then 'bi-encoder'
        when kind = 'classify' then 'classifier'
        else 'cross-encoder'
    end;
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
            message = case when model_for.model is null then format('no default %s is registered', wanted)
                           else format('no model is registered as "%s"', model_for.model) end,
            hint = format('Register it: pgsbert model add %s', coalesce(
                model_for.model, case wanted when 'classifier' then 'cross-encoder/nli-MiniLM2-L6-H768' else 'all-MiniLM-L6-v2' end
            ));
    elsif m.kind <> wanted then
        raise exception using errcode = 'PB004',
            message = format('"%s" is a %s: to %s, a %s is needed', m.name, m.kind, split_part(kind, '_', 1), wanted),
            hint = case m.kind
                when 'bi-encoder' then 'It embeds one text: pgsbert.embed.'
                when 'cross-encoder' then 'It scores documents against a query: pgsbert.rerank.'
                else format('It says which of %s holds for two texts: pgsbert.classify.', array_to_string(m.labels, ', '))
            end;
    elsif kind = 'embed_image' and 'image' <> all (m.modalities) then
        raise exception using errcode = 'PB004',
            message = format('"%s" takes text only', m.name),
            hint = 'Register a model that takes images: pgsbert model add clip-ViT-B-32, and pass it as model =>.';
    end if;
    return m;
end;
$$;
comment on function pgsbert.model_for(text, text) is 'The registered model that answers a question of a kind, the default for null; PB003, PB004 or PB005';

create or replace function pgsbert.put(kind text, model text, query text, texts text[], patience interval) returns uuid
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    m pgsbert.model := pgsbert.model_for(kind, model);
    ticket uuid;
begin
    if statement_timestamp() <> transaction_timestamp() then
        -- The question would reach nobody. This error ends that transaction, so that the connection is opened anew.
        raise exception using errcode = '08000',
            message = 'the loopback connection was in a transaction that another role of this session had begun',
            hint = 'Repeat the question: the connection is opened anew.';
    end if;
    perform pgsbert.check_served(pgsbert.service_of(kind));
    insert into pgsbert.request as r (kind, model, query, texts, images, deadline)
    values (
        -- an image is embedded as a text is; it comes in base64, which is text of any encoding
        split_part(put.kind, '_', 1), m.name, put.query, case when put.kind = 'embed_image' then '{}' else put.texts end,
        case when put.kind = 'embed_image' then array(select decode(image, 'base64') from unnest(put.texts) as image) end,
        clock_timestamp() + least(patience, interval '1 hour')
    )
    returning r.token into ticket;
    perform pg_notify('pgsbert_request', '');
    return ticket;
end;
$$;
comment on function pgsbert.put(text, text, text, text[], interval) is 'Puts a question to the workers; returns the token of its reply';

create or replace function pgsbert.await(ticket uuid, slice interval)
returns table (vectors text, scores text, error_code text, error text)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
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
comment on function pgsbert.await(uuid, interval) is 'Waits a slice for a reply; no row means: ask again';

create or replace function pgsbert.conninfo_quoted(value text) returns text
language sql immutable
set search_path = pg_catalog, pg_temp
return '''' || replace(replace(value, '\', '\\'), '''', '\''') || '''';
comment on function pgsbert.conninfo_quoted(text) is 'A value of a libpq connection string';

create or replace function pgsbert.gateway_options() returns text
language sql stable
set search_path = pg_catalog, pg_temp
return format(
    -- Set by the connection, these win over the settings of the role, which anybody with dblink can change through a
    -- loopback connection of his session, and over those that the database has for its users.
    '-c statement_timeout=0 -c lock_timeout=0 -c idle_session_timeout=0 -c idle_in_transaction_session_timeout=0%s'
    ' -c default_transaction_read_only=off -c default_transaction_isolation=read\ committed -c synchronous_commit=off'
    ' -c local_preload_libraries= -c client_encoding=%s -c extra_float_digits=1 -c intervalstyle=postgres -c jit=off',
    case when current_setting('transaction_timeout', true) is not null then ' -c transaction_timeout=0' end,
    current_setting('server_encoding')
);
comment on function pgsbert.gateway_options() is 'The settings of a loopback session, whatever its role or database has';

create or replace function pgsbert.gateway_address() returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
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
comment on function pgsbert.gateway_address() is 'Where the loopback connection goes';

create or replace function pgsbert.open_gateway() returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    reason text;
begin
    perform :"dblink_schema".dblink_connect('pgsbert', pgsbert.gateway_address());
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
comment on function pgsbert.open_gateway() is 'Opens the loopback connection, or says in one sentence why that is not possible';

create or replace function pgsbert.keeps_connection() returns boolean
language sql stable
set search_path = pg_catalog, pg_temp
return current_setting('pgsbert.keep_connection', true) is distinct from 'off';
comment on function pgsbert.keeps_connection() is 'Whether the loopback connection outlives a question';

create or replace function pgsbert.connect_gateway() returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set client_min_messages = error
as $$
begin
    -- No EXCEPTION block here: before PostgreSQL 17 a subtransaction cannot begin in a parallel plan. dblink_exec
    -- reports a dead connection without raising; dblink() would raise. What another role of this session has set on
    -- the connection is undone by the way; a transaction that it left aborted is an error as well. With
    -- keep_connection = off nothing is trusted that is already there.
    if 'pgsbert' = any (:"dblink_schema".dblink_get_connections()) then
        if pgsbert.keeps_connection() and :"dblink_schema".dblink_exec('pgsbert', 'reset all', false) = 'RESET' then
            return;
        end if;
        perform :"dblink_schema".dblink_disconnect('pgsbert');
    end if;
    if pg_is_in_recovery() and not exists (select from pg_foreign_server where srvname = 'pgsbert_loopback') then
        -- by its own socket a standby reaches itself, where nothing can be asked
        raise exception using errcode = 'PB001',
            message = 'this server is a standby: its questions go to the primary, and nothing says where that is',
            hint = 'On the primary, run pgsbert gateway set-password --host with the host of the primary.';
    elsif current_setting('server_version_num')::int >= 170000 then
        perform pgsbert.open_gateway();
    else
        perform :"dblink_schema".dblink_connect('pgsbert', pgsbert.gateway_address());
    end if;
end;
$$;
comment on function pgsbert.connect_gateway() is 'Opens the loopback connection of this session, again if it was lost';

create or replace function pgsbert.ask_kept(
    kind text, model text, query text, texts text[], out vectors text, out scores text
)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    patience interval := coalesce(nullif(current_setting('pgsbert.timeout', true), ''), '10s')::interval;
    deadline timestamptz := clock_timestamp() + patience;
    ticket uuid;
    reply record;
    answered boolean;
begin
    perform pgsbert.connect_gateway();
    select r.ticket into ticket
    from :"dblink_schema".dblink(
        'pgsbert', format('select pgsbert.put(%L, %L, %L, %L, %L)', kind, model, query, texts, patience)
    ) as r (ticket uuid);
    loop
        -- short slices: a wait inside dblink cannot be cancelled, the loop between two of them can
        select r.* into reply
        from :"dblink_schema".dblink(
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
comment on function pgsbert.ask_kept(text, text, text, text[]) is 'Puts a question over the loopback connection and waits for the reply, at most pgsbert.timeout';

create or replace function pgsbert.ask_once(
    kind text, model text, query text, texts text[], out vectors text, out scores text
)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    select * into vectors, scores from pgsbert.ask_kept(kind, model, query, texts);
    perform :"dblink_schema".dblink_disconnect('pgsbert');
exception when others or query_canceled then
    if 'pgsbert' = any (:"dblink_schema".dblink_get_connections()) then
        perform :"dblink_schema".dblink_disconnect('pgsbert');
    end if;
    raise;
end;
$$;
comment on function pgsbert.ask_once(text, text, text, text[]) is 'Asks, and leaves no connection behind, whatever happens';

create or replace function pgsbert.ask(
    kind text, model text, query text, texts text[], out vectors text, out scores text
)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    if pgsbert.keeps_connection() then
        select * into vectors, scores from pgsbert.ask_kept(kind, model, query, texts);
    elsif current_setting('server_version_num')::int >= 170000 then
        select * into vectors, scores from pgsbert.ask_once(kind, model, query, texts);
    else
        -- no subtransaction can begin in a parallel plan: a question that fails leaves the connection
        select * into vectors, scores from pgsbert.ask_kept(kind, model, query, texts);
        perform :"dblink_schema".dblink_disconnect('pgsbert');
    end if;
end;
$$;
comment on function pgsbert.ask(text, text, text, text[]) is 'A question to a model, over a connection that is kept or not';

create or replace function pgsbert.check_text(content text) returns void
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
begin
    if content = '' then
        raise exception using errcode = 'PB007',
            message = 'an empty text has no embedding',
            hint = 'Rows whose text is empty have none either; NULL gives NULL.';
    end if;
end;
$$;
comment on function pgsbert.check_text(text) is 'Raises PB007 for the empty text';

create or replace function pgsbert.embed(content text, model text default null) returns :"vector_schema".vector
language plpgsql stable parallel restricted security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    slot refcursor;
    memo record;
    vectors :"vector_schema".vector[];
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
comment on function pgsbert.embed(text, text) is 'The embedding of a text by a registered bi-encoder; write it as (SELECT pgsbert.embed(...)) so that an index serves the query';

create or replace function pgsbert.embed(contents text[], model text default null) returns :"vector_schema".vector[]
language plpgsql stable parallel restricted security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    known text[] := array(select content from unnest(contents) as content where content is not null);
    vectors :"vector_schema".vector[];
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
comment on function pgsbert.embed(text[], text) is 'The embeddings of many texts, in their order; NULL stays NULL';
