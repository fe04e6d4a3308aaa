"""The bundled language: categories of everyday words, noise words, label words.

A text of this language is a handful of words of one category, with noise words among them. Each
word belongs to one list only. The bundled tokenizer gives every word, with the space before it,
one token: changing a list here means training the bundled model anew.
"""

_CATEGORIES = {
    "fish": "salmon trout carp herring cod tuna perch pike mackerel sardine haddock eel",
    "birds": "sparrow robin crow eagle owl pigeon swan finch gull heron lark stork",
    "wild animals": "lion tiger wolf bear fox deer elephant giraffe zebra monkey leopard badger",
    "farm animals": "cow sheep goat pig horse hen donkey goose turkey ox pony lamb",
    "insects": "ant bee wasp beetle moth fly mosquito cricket butterfly termite ladybird hornet",
    "trees": "oak pine birch maple willow elm cedar ash beech poplar spruce larch",
    "flowers": "rose tulip daisy lily violet poppy orchid iris daffodil lilac marigold jasmine",
    "fruit": "apple pear banana cherry plum grape lemon peach mango melon apricot strawberry",
    "vegetables": (
        "carrot onion cabbage potato turnip leek spinach celery radish pumpkin lettuce broccoli"
    ),
    "spices": "basil parsley thyme mint sage pepper cinnamon ginger nutmeg saffron oregano paprika",
    "drinks": "coffee tea milk juice water lemonade wine beer cider cocoa soda brandy",
    "baking": "bread cake biscuit muffin pie pastry bun pancake waffle tart loaf croissant",
    "meals": "soup stew salad sandwich pizza curry omelette porridge pasta sausage burger dumpling",
    "clothes": "shirt coat dress jacket skirt trousers sweater scarf sock glove blouse vest",
    "jewellery": (
        "ring necklace bracelet brooch pendant crown earring locket tiara cufflink bangle medallion"
    ),
    "furniture": "table chair sofa bed desk shelf cupboard wardrobe stool bench dresser armchair",
    "kitchenware": "spoon fork knife plate bowl cup pan kettle saucepan ladle whisk teapot",
    "tools": "hammer saw drill screwdriver wrench pliers chisel axe spade shovel rake file",
    "vehicles": "car bus truck van bicycle motorcycle tram taxi lorry scooter wagon tractor",
    "vessels": "ship boat ferry canoe yacht raft kayak barge submarine tanker dinghy trawler",
    "buildings": (
        "house church castle school hospital factory barn library museum tower cottage palace"
    ),
    "parts of a house": (
        "roof wall door window floor ceiling stairs chimney balcony attic cellar porch"
    ),
    "parts of the body": "arm leg foot hand head knee elbow shoulder nose ear mouth chin",
    "family": (
        "mother father sister brother aunt uncle cousin nephew niece "
        "grandmother grandfather daughter"
    ),
    "occupations": (
        "doctor nurse teacher baker farmer lawyer plumber carpenter dentist butcher tailor engineer"
    ),
    "instruments": (
        "piano violin guitar flute drum trumpet cello harp clarinet organ trombone banjo"
    ),
    "sports": (
        "football tennis hockey golf rugby baseball basketball boxing skiing swimming "
        "fencing rowing"
    ),
    "toys": "doll puzzle kite marble teddy balloon dice domino chess yoyo puppet skittle",
    "colours": "red blue green yellow brown purple pink grey black white crimson turquoise",
    "shapes": (
        "circle square triangle oval cube sphere cone cylinder rectangle pyramid hexagon diamond"
    ),
    "numbers": "one two three four five six seven eight nine ten eleven twelve",
    "months": (
        "january february march april may june july august september october november december"
    ),
    "weather": "rain snow wind storm fog thunder hail frost drizzle mist lightning blizzard",
    "landscape": "mountain hill valley river lake forest desert island beach cliff meadow canyon",
    "countries": "france spain italy germany poland norway brazil mexico canada egypt india japan",
    "cities": "london paris rome berlin madrid vienna tokyo cairo moscow dublin oslo lisbon",
    "metals": "iron gold silver copper lead tin zinc nickel steel bronze brass platinum",
    "fabrics": "cotton wool silk linen velvet leather denim nylon lace satin canvas felt",
    "the sky": "sun moon star planet comet galaxy meteor mars venus jupiter saturn asteroid",
    "feelings": "joy anger fear sadness pride shame envy love hope grief worry delight",
    "times": "minute hour day week month year decade century morning evening noon midnight",
    "school subjects": (
        "history geography biology chemistry physics algebra geometry grammar music latin art "
        "economics"
    ),
    "stationery": (
        "pen pencil paper eraser ruler notebook envelope stapler crayon scissors glue chalk"
    ),
    "ailments": "fever cough flu measles headache rash asthma mumps toothache cramp allergy bruise",
    "washing": "soap towel brush comb sponge bucket mop broom toothbrush shampoo razor sink",
}

CATEGORIES: dict[str, tuple[str, ...]] = {
    name: tuple(words.split()) for name, words in _CATEGORIES.items()
}
"""Category name to its words, twelve each; the order of categories decides what is held out."""

_NOISE = (
    "about across after again along also already always almost before but during even ever from "
    "here into just maybe never now often onto over perhaps quite rather really since soon still "
    "then there though toward under upon very while with"
)

_LABELS = (
    "left right upper lower inner outer open closed major minor plain special public private "
    "single double local global early late simple complex former latter"
)

NOISE: tuple[str, ...] = tuple(_NOISE.split())
"""Words that say nothing of the category."""

LABELS: tuple[str, ...] = tuple(_LABELS.split())
"""The pool from which label words are drawn."""

SHORTEST, LONGEST = 3, 5
"""Words in a text."""

CERTAIN = 2
"""Words of a text that are always of its category."""

NOISE_RATE = 0.3
"""Probability that any other word of a text is a noise word instead."""

HELD_OUT_STEP = 7


def held_out_pairs() -> tuple[tuple[int, int], ...]:
    """Pairs of categories (by index) that training never shows together.

    Category ``i`` is kept apart from category ``i + 7`` modulo the number of categories, so each
    category is in two of the pairs, and is trained with all others. The ``i``-th pair starts
    with category ``i``.
    """
    count = len(CATEGORIES)
    return tuple((i, (i + HELD_OUT_STEP) % count) for i in range(count))


def trained_pairs() -> tuple[tuple[int, int], ...]:
    """All other pairs ``(i, j)`` with ``i < j``."""
    held_out = {frozenset(pair) for pair in held_out_pairs()}
    count = len(CATEGORIES)
    return tuple(
        (i, j) for i in range(count) for j in range(i + 1, count) if {i, j} not in held_out
    )
