-- A question about an image, by the same way as those about texts.

create or replace function pgsbert.embed_image(image bytea, model text default null) returns :"vector_schema".vector
language plpgsql stable parallel restricted security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    -- each byte of a question is held some twenty times, by this session and by the loopback one
    most constant integer := 16 * 1024 * 1024;
    digest text;
    slot refcursor;
    memo record;
    vectors :"vector_schema".vector[];
begin
    if image is null then
        return null;
    elsif image = '' then
        raise exception using errcode = 'PB007',
            message = 'an empty image has no embedding',
            hint = 'Rows whose image is empty have none either; NULL gives NULL.';
    elsif octet_length(image) > most then
        raise exception using errcode = 'PB007',
            message = format('the image has %s bytes: a question takes at most %s', octet_length(image), most),
            hint = 'Scale it down: a model looks at a few hundred pixels in each direction.';
    end if;
    -- Remembered for the transaction, as in embed(); the digest stands for the image, of which a session keeps no copy.
    digest := encode(sha256(image), 'hex');
    slot := 'pgsbert_image_' || hashtextextended(digest, hashtextextended(coalesce(model, ''), 0));
    if exists (
        select from pg_cursors
        where name = slot::text and statement = 'select digest as digest, model as model, vectors[1] as embedding'
    ) then
        fetch absolute 1 from slot into memo;
        if memo.digest = digest and memo.model is not distinct from model then
            return memo.embedding;
        end if;
    end if;
    vectors := (pgsbert.ask('embed_image', model, null, array[encode(image, 'base64')])).vectors;
    if (select count(*) filter (where name = slot::text) = 0 and count(*) < 64
        from pg_cursors where name like 'pgsbert\_image\_%') then
        open slot scroll for select digest as digest, model as model, vectors[1] as embedding;
    end if;
    return vectors[1];
end;
$$;
comment on function pgsbert.embed_image(bytea, text) is 'The embedding of an image (JPEG, PNG or WebP) by a registered model that takes images, in one space with its texts';
