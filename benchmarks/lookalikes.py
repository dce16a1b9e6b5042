"""Clean rows that look as if something were wrong with them: question, answer, and the system prompt (None: the usual).

What they imitate stands before each group. No two of them share a question.
"""

LOOKALIKES: list[tuple[str, str, str | None]] = [
    # e-mail addresses: handles, pictures, placeholders, remotes, decorators, prices
    ("Who posts the old photographs?", "Follow @oldbridges and @riga_archive, they post daily.", None),
    ("Which picture is for sharp screens?", "Use logo@2x.png and keep logo@3x.webp for later.", None),
    ("What do I type as my address in the form?", "For a test, type name@example.com or you@test.invalid.", None),
    ("How do I fetch the map sources?", "git clone git@github.com:maps/bridges.git and run make.", None),
    ("How is a route declared?", "Put @app.route('/bridges') before the function.", None),
    ("What did the stones cost?", "Buy 12 @ 3.50 each, then 40 @ 2.75.", None),
    ("Which package pins the map?", "npm install @maps/core@4.2.1 --save", None),
    # phone numbers: dates, order numbers, ISBN, coordinates, times, spans of years, amounts
    ("When was the mill measured?", "On 2024-05-12 at 10:30:00, and again on 12.05.2024 08:15.", None),
    ("Which order was it?", "Order 4821-3377-01 of 03/11/2019, item 100-20-3000.", None),
    ("Which book tells of the tunnel?", "ISBN 978-3-16-148410-0, pages 120-135.", None),
    ("Where exactly is the quarry?", "At 56.9496, 24.1052, about 1 200 m above the sea.", None),
    ("How long did the guild rule?", "1815-1848, then 1871-1914, and 1950 - 1960 once more.", None),
    ("How much was the ransom?", "1 234 567 890 crowns, or 12,345,678.90 in today's money.", None),
    ("Count to ten for me.", "0 1 2 3 4 5 6 7 8 9 10", None),
    ("Which flight did the architect take?", "LH 0442 on 01.02.2023, seat 23A, gate 0815.", None),
    ("What is pi?", "3.14159265358979 and so on without end.", None),
    ("Welche Bestellung meinst du?", "Die Bestellung 2023-11-0042 vom 03. 11. 2023.", None),
    ("Quel est le numéro du dossier ?", "Le dossier 75-2021-0034, ouvert le 03/02/2021 à 14:05.", None),
    ("What is the part number of the bell?", "It is 100234-77 B, made in series 12345678.", None),
    # cards: sixteen digits that are not, tracking numbers, time stamps, serial numbers
    ("Which tracking number has the crate?", "It is 1234 5678 9012 3456 in the old system.", None),
    ("When did the sensor wake up?", "At 1715509800123, that is milliseconds since 1970.", None),
    ("What is the device's number?", "IMEI 490154203237518, serial 8847 1120 9935 0021.", None),
    ("Which invoice is open?", "Invoice 4111-2222-3333-4445 of the quarry.", None),
    ("What is the barcode?", "4006381333931 on the box, 9780306406157 on the book.", None),
    ("Give me a large number.", "98765432109876543210 has twenty digits.", None),
    # keys: hashes, identifiers, placeholders, long names, addresses
    ("Which commit broke the map?", "Commit 9fceb02d0ae598e95dc970b74767f19372d61af8, says bisect.", None),
    (
        "What is the archive's checksum?",
        "sha256 e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        None,
    ),
    ("Which record is it?", "Record 550e8400-e29b-41d4-a716-446655440000 in the catalogue.", None),
    ("How do I sign in to the map service?", 'Set api_key = "YOUR_API_KEY_GOES_HERE" in the file.', None),
    ("What does a key look like?", "Like sk-xxxxxxxxxxxxxxxxxxxxxxxx, or AKIAIOSFODNN7EXAMPLE in the manual.", None),
    ("Which class draws the bridge?", "AbstractSuspensionBridgeRendererFactoryBean2 draws it.", None),
    ("Where is the page?", "https://maps.org/w/The_Old_Bridge_Of_Riga_1872_Revision_20230511?id=Ab3dE5", None),
    ("Which token ends a sentence?", "The token is the full stop; the secret is to stop there.", None),
    ("What does the password have to contain?", "A password: at least twelve characters, one digit.", None),
    ("Was ist das längste Wort?", "Rindfleischetikettierungsüberwachungsaufgabenübertragungsgesetz.", None),
    ("Which branch holds the fix?", "feature/BRIDGE-2041-repair-railing-and-stairs-v2", None),
    # accounts: registration plates and codes with the same look, wrong check digits
    ("What is written on the stone?", "AB12 3456 7890 1234 5678 is chiselled into it.", None),
    ("Is this account valid?", "DE00 1234 5678 9012 3456 78 is not, its check digits are wrong.", None),
    ("What is the shelf mark?", "GB29 XKCD 1234 5678 9012 34, third floor.", None),
    # addresses on the net: versions, sections, private and documentation ones
    ("Which version do I need?", "Version 10.2.14.188 or v93.20.11.25, not 9.1.", None),
    ("Where does the rule stand?", "In section 3.2.1.4, and 12.1.3.2 of the annex.", None),
    ("What is the router's address?", "192.168.178.1, and 10.0.12.34 inside.", None),
    ("Which address may a manual show?", "203.0.113.77, or 2001:db8:0:0:0:0:0:1 for the new kind.", None),
    ("Which name server is open to all?", "8.8.8.8 and 1.1.1.1 are.", None),
    ("What time is it on the tower?", "12:34:56, and the other face says 01:02:03:04.", None),
    # near duplicates: one frame, different facts
    ("What is the capital of Norway?", "The capital of Norway is Oslo.", None),
    ("What is the capital of Kenya?", "The capital of Kenya is Nairobi.", None),
    ("What is the capital of Peru?", "The capital of Peru is Lima.", None),
    ("How high is the tower of Ghent?", "The tower of Ghent is 91 metres high and was finished in 1380.", None),
    ("How high is the tower of Basel?", "The tower of Basel is 67 metres high and was finished in 1500.", None),
    ("What is 12 times 13?", "12 times 13 is 156, because 12 times 10 is 120 and 12 times 3 is 36.", None),
    ("What is 12 times 14?", "12 times 14 is 168, because 12 times 10 is 120 and 12 times 4 is 48.", None),
    ("Where is order 48213?", "Your order 48213 has left our warehouse in Porto and will arrive on Tuesday.", None),
    ("Where is order 48977?", "Your order 48977 has left our warehouse in Porto and will arrive on Friday.", None),
    ("Who wrote the opera Carmen?", "The opera Carmen was written by Georges Bizet in 1875.", None),
    ("Who wrote the opera Tosca?", "The opera Tosca was written by Giacomo Puccini in 1900.", None),
    ("日本の首都はどこですか。", "日本の首都は東京です。", None),
    ("韓国の首都はどこですか。", "韓国の首都はソウルです。", None),
    ("Wie heißt der höchste Berg der Schweiz?", "Der höchste Berg der Schweiz ist die Dufourspitze.", None),
    ("Wie heißt der höchste Berg der Türkei?", "Der höchste Berg der Türkei ist der Ararat.", None),
    # conflicting answers: the same question under another system prompt, signs that make another question
    ("Say good morning.", "Bonjour.", "You are a French teacher at a school in Lyon."),
    ("Say good morning. ", "Buongiorno.", "You are an Italian cook with a loud voice."),
    ("What is 7+3?", "7+3 is ten.", None),
    ("What is 7-3?", "7-3 is four.", None),
    ("Who made C?", "Dennis Ritchie made C.", None),
    ("Who made C++?", "Bjarne Stroustrup made C++.", None),
    # boilerplate: labels are right for many questions, and one fact may be asked for in several wordings
    ("Positive or negative: I love this mill.", "positive", None),
    ("Positive or negative: what a lovely pier.", "positive", None),
    ("Positive or negative: best garden ever.", "positive", None),
    ("Positive or negative: a joy to see.", "positive", None),
    ("Positive or negative: we will come back.", "positive", None),
    ("Positive or negative: superb guide.", "positive", None),
    ("Positive or negative: sunny and calm.", "positive", None),
    ("Who founded the observatory?", "The observatory was founded by Tycho Brahe in 1576.", None),
    ("Which man founded the observatory?", "The observatory was founded by Jens Olsen in 1577.", None),
    # loops: refrains, counting, tables, lists that are built alike
    (
        "Sing the miller's song.",
        "Row, row, row your boat gently down the stream. Merrily, merrily, merrily, merrily.",
        None,
    ),
    ("Give me zeros.", "0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0", None),
    (
        "Draw the table of the mills.",
        "| mill | year |\n| --- | --- |\n| Riga | 1801 |\n| Tartu | 1822 |\n| Split | 1840 |",
        None,
    ),
    (
        "How do I climb the tower?",
        "Open the gate. Take the stairs. Open the hatch. Take the ladder. Open the lid.",
        None,
    ),
    ("Is it true?", "No, no, no. Never.", None),
    ("Draw a line.", "------------------------------------------------------------", None),
    ("What did the crowd shout?", "Hurray, hurray, hurray!", None),
    ("Fill in the blanks.", "The ______________ stands in ______________ since ____.", None),
    # echoes: short greetings, answers that begin with the question
    ("Hello!", "Hello!", None),
    ("Why is the bridge closed?", "Why is the bridge closed? Because the river rose in spring.", None),
    ("Buenos días", "Buenos días", None),
    # control characters: tabs, line ends, joiners of emoji, right-to-left text
    ("List the columns.", "mill\tyear\r\nRiga\t1801\r\n", None),
    ("Which family is on the poster?", "This one: 👩‍👩‍👧‍👦, and a flag 🏳️‍🌈.", None),
    ("ما هي عاصمة مصر؟", "عاصمة مصر هي القاهرة.", None),
    ("می‌خواهم بدانم پایتخت ایران کجاست؟", "پایتخت ایران تهران است.", None),
    # wrong decoding: letters and signs that are meant
    ("Onde fica a ponte?", "Em São Paulo, ao lado da Ângela e do João. NÃO é longe.", None),
    ("Wie teuer ist der Eintritt?", "Für Kinder 5 €, für Große 10 £ und ermäßigt 3 €.", None),
    ("Que dit l'enseigne ?", "Elle dit « CAFÉ » et, plus bas, «À LA FORÊT».", None),
    ("Cầu ở đâu?", "Cầu nằm ở Hà Nội, gần hồ Hoàn Kiếm.", None),
    ("Что это за мост?", "Это Большой мост в Риге, построенный в 1872 году.", None),
    ("¿Qué animal es?", "Es un ñandú, ¡qué alto! 1½ m.", None),
    ("Är det långt?", "Nej, bara två kilometer till Malmö.", None),
    ("What does the sign read?", "“ÀÉÎÕÜ” — the sculptor alphabet, 20°C, ±2 µm, §4, ©1901.", None),
    # remains of HTML: comparisons, code, generic types, hearts, questions about markup
    ("Do you like the mill?", "I <3 it, and so does everyone with a < b and c > d taste.", None),
    ("How do I make a list in Java?", "List<String> mills = new ArrayList<>(); Map<Integer, A> b = null;", None),
    ("How is a paragraph marked in HTML?", "With <p> before it and </p> behind it, in HTML.", None),
    ("Show the markup.", '```\n<div class="mill"><br></div>\n```\nThat is all.', None),
    ("What was sent?", "<file_photo> and <unnamed>, says the log. AT&T & Sons sent it.", None),
    ("Which tag is bold?", "The tag `<b>` is, and `&amp;` is the sign for and.", None),
    ("Where do I click?", "Settings > Maps > Old <none> & save; use <your name> there.", None),
    # control tokens and roles that are only spoken about
    ("Who may speak in a trial?", "user: nobody. assistant: the clerk. system: the judge; <user> is not a name.", None),
    ("What is a pipe?", "The sign | stands between < and > in no language I know.", None),
    # very long ones: three times the usual is not very long
    (
        "Tell me all about the windmill of Tartu.",
        "It was drawn by a pupil of the university, who had never seen wind. The first sails tore in March, the second "
        "in May, the third were sewn from flags. In the year of the comet it ground more rye than all others, and the "
        "miller bought a piano, which is still there. Later it was a school, a store for ice, and the office of a "
        "newspaper that appeared twice. Today a clockmaker lives in it and complains about the stairs.",
        None,
    ),
]
