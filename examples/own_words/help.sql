-- A help desk whose people use words of their own: Mercury is the payroll, Falcon the way in from home.
-- psql -d shop -f help.sql; docs/training.md goes on from here.

CREATE TABLE help (
    id integer PRIMARY KEY,
    title text NOT NULL,
    body text NOT NULL
);
INSERT INTO help VALUES
    (1, 'Salary and payslips', 'Where your monthly pay is shown, and whom to tell when the amount is wrong.'),
    (2, 'Working from home', 'How to reach the internal network through the VPN from outside.'),
    (3, 'Booking a journey', 'Trains, flights and hotels for work are booked in one place.'),
    (4, 'Meeting rooms', 'Reserve a room for a group, and give it back when plans change.'),
    (5, 'Sharing files', 'Folders that a whole team can read and write, and who may see them.'),
    (6, 'Heating and air', 'What to do when an office is too cold or too warm.'),
    (7, 'Sending parcels', 'Couriers collect at four; labels are printed at the front desk.'),
    (8, 'Lunch', 'What is cooked this week, and how to pay with your badge.'),
    (9, 'Days off', 'Ask for holidays and see how many are left.'),
    (10, 'A broken laptop', 'Hand it in at the workshop and borrow another one.'),
    (11, 'Visitors', 'Announce guests a day before so that a badge is ready for them.'),
    (12, 'Expenses', 'Send in receipts; the money comes with the next salary.');

-- what people searched for, and what they opened
CREATE TABLE clicks (query text NOT NULL, help_id integer NOT NULL REFERENCES help);
INSERT INTO clicks VALUES
    ('Mercury', 1), ('Mercury is late', 1), ('log in to Mercury', 1), ('new bank account in Mercury', 1),
    ('Falcon', 2), ('Falcon does not start', 2), ('install Falcon', 2), ('Falcon asks for a code', 2),
    ('Bluebird', 3), ('Bluebird for two people', 3), ('cancel in Bluebird', 3), ('Bluebird rejects my card', 3),
    ('Oak', 4), ('is Oak free on Monday', 4), ('Oak is taken', 4), ('change Oak to Thursday', 4),
    ('Harbor', 5), ('Harbor is full', 5), ('give Anna access to Harbor', 5), ('Harbor for the new project', 5),
    ('Ember', 6), ('Ember is off', 6), ('Ember on the second floor', 6), ('Ember at the weekend', 6),
    ('Comet', 7), ('when does Comet come', 7), ('Comet to Lisbon', 7), ('Comet lost it', 7),
    ('Greenhouse', 8), ('Greenhouse on Friday', 8), ('is Greenhouse open', 8), ('Greenhouse for vegetarians', 8),
    ('Robin', 9), ('Robin for August', 9), ('my Robin was refused', 9), ('how much Robin is left', 9),
    ('Garage', 10), ('bring it to the Garage', 10), ('Garage opening hours', 10), ('Garage has no spare', 10),
    ('Lobby list', 11), ('put her on the Lobby list', 11), ('Lobby list for tomorrow', 11), ('Lobby list is closed', 11),
    ('Penny', 12), ('Penny for the taxi', 12), ('Penny is still open', 12), ('photo for Penny', 12);

-- what they asked later: none of it was trained on
CREATE TABLE asked (query text NOT NULL, help_id integer NOT NULL REFERENCES help);
INSERT INTO asked VALUES
    ('Mercury is wrong', 1), ('Falcon is slow today', 2), ('Bluebird to Paris', 3), ('Oak for eight people', 4),
    ('who sees my Harbor', 5), ('Ember is too loud', 6), ('Comet before noon', 7), ('Greenhouse menu', 8),
    ('Robin over Christmas', 9), ('Garage on the ground floor', 10), ('Lobby list for six', 11), ('Penny for a dinner', 12);

SELECT pgsbert.create_vectorizer('help', columns => '{title,body}');
CALL pgsbert.wait_until_synced('help');
