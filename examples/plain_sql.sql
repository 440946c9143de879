-- Recipes found by what they mean, in psql alone: psql -d shop -f plain_sql.sql
-- The database has pgsbert ("pgsbert install") and a worker runs ("pgsbert worker").

CREATE TABLE recipes (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    title text NOT NULL,
    method text NOT NULL,
    minutes integer NOT NULL
);
SELECT pgsbert.create_vectorizer('recipes', columns => '{title,method}');

INSERT INTO recipes (title, method, minutes) VALUES
    ('Leek and potato soup', 'Simmer sliced leeks and potatoes in stock, then blend.', 35),
    ('Lemon sorbet', 'Freeze lemon juice with sugar syrup, stirring now and then.', 240),
    ('Pancakes', 'Fry a thin batter of eggs, milk and flour on both sides.', 20),
    ('Grilled salmon', 'Brush the fish with oil and grill it for four minutes a side.', 15),
    ('Lentil stew', 'Cook lentils with carrots and cumin until soft.', 45),
    ('Fruit salad', 'Cut apples, pears and oranges and dress them with mint.', 10);

-- a script waits for the worker once; an application need not
CALL pgsbert.wait_until_synced('recipes');

-- the two nearest to a question
SELECT (hit.item).title, round(hit.score::numeric, 2) AS score
FROM recipes_search('breakfast for children', k => 2) AS hit;

-- the embedding is a column like any other: filters and joins as usual
SELECT title, minutes
FROM recipes
WHERE minutes <= 30
ORDER BY embedding <=> (SELECT pgsbert.embed('a dessert'))
LIMIT 2;

-- what is like a row
SELECT r.title
FROM recipes_neighbors AS n
JOIN recipes AS r ON r.id = n.neighbor_id
WHERE n.id = (SELECT id FROM recipes WHERE title = 'Lentil stew')
ORDER BY n.distance
LIMIT 1;

-- a row is found by its new text as soon as the worker has embedded it
UPDATE recipes SET title = 'Pumpkin pie', method = 'Bake spiced pumpkin in a crust.' WHERE title = 'Pancakes';
CALL pgsbert.wait_until_synced('recipes');
SELECT (hit.item).title FROM recipes_search('a dessert', k => 1) AS hit;

SELECT pgsbert.drop_vectorizer('recipes');
DROP TABLE recipes;
