"""Names of inns, people, towns and rivers, of which the multi-hop world is made."""

from __future__ import annotations


def _words(text: str) -> list[str]:
    return text.split()


ADJECTIVES = _words("""
Amber Ancient Ashen Autumn Bashful Bitter Black Blazing Blind Blue Bold Brass Brave Bright Broken Bronze
Calm Careless Cheerful Clever Cloudy Copper Coral Crimson Crooked Crystal Curious Dancing Daring Dapper
Dark Distant Dizzy Dreaming Drowsy Dusty Eager Early Ebony Emerald Empty Faded Faithful Fallen Fancy
Fearless Fiery Floating Flying Forgotten Frozen Gentle Giddy Gilded Glad Gleaming Golden Grand Grateful
Green Grey Grumpy Happy Hasty Hidden Hollow Honest Humble Hungry Idle Iron Ivory Jade Jolly Kindly Loyal
Laughing Lazy Little Lonely Lost Loud Lucky Mellow Merry Mighty Misty Modest Mossy Muddy Nimble Noble Odd
Old Pale Patient Pearl Polite Proud Purple Quick Quiet Ragged Red Restless Roaming Rosy Rusty Sacred
Salty Scarlet Secret Shy Silent Silver Singing Sleepy Sly Smiling Snowy Solemn Spotted Stubborn Sunny
Thirsty Tiny Velvet Wandering
""")

NOUNS = _words("""
Acorn Anchor Anvil Apple Arrow Badger Barrel Basket Bear Beaver Bell Boar Boot Bridge Broom Bucket Buck
Bull Candle Castle Cauldron Chair Chalice Cherry Chest Clock Clover Cobbler Comet Compass Crane Cricket
Crow Crown Cuckoo Dagger Deer Dolphin Donkey Door Dove Dragon Drum Duck Eagle Eel Falcon Feather Fiddle
Flagon Flute Fox Frog Gander Gate Goat Goblet Goose Griffin Hammer Hare Harp Hat Hawk Hedgehog Helmet
Heron Horn Horse Hound Jackdaw Jug Kettle Key Kite Ladder Ladle Lamb Lantern Lark Lion Lobster Lute
Magpie Mare Mill Mirror Mole Moon Moth Mule Needle Nightingale Oak Orchard Otter Owl Ox Parrot Partridge
Pear Pheasant Pigeon Pike Plough Pony Rabbit Ram Raven Robin Rooster Saddle Salmon Shield Ship Shovel
Sparrow Spindle Stag Star Stork Swan Sword Thimble Thistle Thrush Toad Trout
""")

FIRST_NAMES = _words("""
Ada Adele Agnes Alan Albert Alec Alice Alma Amos Anna Anton Arthur Astrid Barbara Basil Beatrice Benno
Bertha Boris Brenda Bruno Carla Carmen Cecil Celia Clara Clement Conrad Cora Cyril Dagmar Daphne David
Deborah Dennis Dora Doris Edgar Edith Edmund Elena Elias Elsa Emil Emma Enid Erik Esther Eva Felix Fiona
Flora Frank Freda Fritz Gerda Gilbert Gloria Greta Gustav Hanna Harold Hazel Hector Heidi Helen Henry
Hilda Hugo Ida Igor Ines Ingrid Iris Isaac Ivan Jacob Jane Jasper Joan Jonas Julia Karl Katrin Kurt Lars
Laura Lena Leo Linda Lorenz Lucas Lydia Magda Marcus Maria Martin Matilda Maude Max Miriam Monica Nadia
Nathan Nina Nora Olaf Olga Oscar Otto Paula Percy Petra Philip Ralph Rita Robert Rosa Rudolf Ruth Samuel
Sonia Stella Sven Tessa Theodor Ursula Victor
""")

LAST_NAMES = [
    first + last
    for first in _words("Ash Black Bram Cold Dun Fen Gar Hart Hol Lang Mar Nor Pen Rad Stan Whit")
    for last in _words("bourne croft dale gate man more wick worth")
]

TOWN_NAMES = [
    first + last
    for first in _words("Alder Birch Brook Cliff Ember Fern Heather Kings Long Mill Rook Tarn")
    for last in _words("bury by field ford ham haven mouth port side stead ton wold")
]

RIVERS = _words("""
Aven Brell Caldor Dremm Elm Farrow Gleat Hessel Irle Jorv Kestle Lunder Mavis Nerl Orrin Pell Quenn
Rothel Sarn Tave Ulver Varn Wend Yarl
""")
