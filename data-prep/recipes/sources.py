"""The table of sources: addresses, sizes, sums and counts. Facts only; README.md says what could not be verified.

Sums marked THIRD_PARTY come from public download scripts (TensorFlow Datasets, Hugging Face datasets, ParlAI, torchtext),
because the distributors publish none.
"""

THIRD_PARTY = "a third-party sum: the distributor publishes none"

WIKIPEDIA = "https://dumps.wikimedia.org/enwiki"
WIKIPEDIA_BYTES = 25_000_000_000  # estimate

BOOKCORPUS_LIST = (
    "https://huggingface.co/api/datasets/bookcorpus/bookcorpus/tree/refs%2Fconvert%2Fparquet/plain_text/train"
)
BOOKCORPUS_FILES = "https://huggingface.co/datasets/bookcorpus/bookcorpus/resolve/refs%2Fconvert%2Fparquet"
BOOKCORPUS_BYTES = 2_900_000_000  # estimate

PG19_LIST = "https://storage.googleapis.com/storage/v1/b/deepmind-gutenberg/o"
PG19_FILES = "https://storage.googleapis.com/deepmind-gutenberg"
PG19_BYTES = 11_700_000_000  # estimate
PG19_BOOKS = {"train": 28602, "validation": 50, "test": 100}

SIMPLE_BOOKS_BYTES = 180_000_000  # estimate

GLUE = "https://dl.fbaipublicfiles.com/glue/data"
SENTEVAL = "https://dl.fbaipublicfiles.com/senteval/senteval_data"
# (task, address, bytes, SHA-256)
GLUE_FILES = [
    ("CoLA", f"{GLUE}/CoLA.zip", 376971, "f212fcd832b8f7b435fb991f101abf89f96b933ab400603bf198960dfc32cbff"),
    ("SST-2", f"{GLUE}/SST-2.zip", 7439277, "d67e16fb55739c1b32cdce9877596db1c127dc322d93c082281f64057c16deaa"),
    ("STS-B", f"{GLUE}/STS-B.zip", 802872, "e60a6393de5a8b5b9bac5020a1554b54e3691f9d600b775bd131e613ac179c85"),
    ("QQP", f"{GLUE}/QQP-clean.zip", 41696084, "40e7c862c04eb26ee04b67fd900e76c45c6ba8e6d8fab4f8f1f8072a1a3fbae0"),
    ("MNLI", f"{GLUE}/MNLI.zip", 312783507, "e7c1d896d26ed6caf700110645df426cc2d8ebf02a5ab743d5a5c68ac1c83633"),
    ("QNLI", f"{GLUE}/QNLIv2.zip", 10627589, "e634e78627a29adaecd4f955359b22bf5e70f2cbd93b493f2d624138a0c0e5f5"),
    ("RTE", f"{GLUE}/RTE.zip", 697150, "6bf86de103ecd335f3441bd43574d23fef87ecc695977a63b82d5efb206556ee"),
    ("WNLI", f"{GLUE}/WNLI.zip", 28999, "ae0e8e4d16f4d46d4a0a566ec7ecceccfd3fbfaa4a7a4b4e02848c0f2561ac46"),
    ("AX", f"{GLUE}/AX.tsv", 222257, "0e13510b1bb14436ff7e2ee82338f0efb0133ecf2e73507a697dc210db3f05fd"),
    ("MRPC", f"{GLUE}/mrpc_dev_ids.tsv", 6222, "971d7767d81b997fd9060ade0ec23c4fc31cbb226a55d1bd4a1bac474eb81dc7"),
    (
        "MRPC",
        f"{SENTEVAL}/msr_paraphrase_train.txt",
        1047044,
        "60a9b09084528f0673eedee2b69cb941920f0b8cd0eeccefc464a98768457f89",
    ),
    (
        "MRPC",
        f"{SENTEVAL}/msr_paraphrase_test.txt",
        441275,
        "a04e271090879aaba6423d65b94950c089298587d9c084bf9cd7439bd785f784",
    ),
]
# Rows without the header; two numbers where two releases are in use.
GLUE_ROWS = {
    "CoLA": {"train": [8551], "dev": [1043], "test": [1063]},
    "SST-2": {"train": [67349], "dev": [872], "test": [1821]},
    "MRPC": {"train": [3668], "dev": [408], "test": [1725]},
    "STS-B": {"train": [5749], "dev": [1500], "test": [1379]},
    "QQP": {"train": [363846, 363849], "dev": [40430], "test": [390965]},
    "MNLI": {
        "train": [392702],
        "dev_matched": [9815],
        "dev_mismatched": [9832],
        "test_matched": [9796],
        "test_mismatched": [9847],
    },
    "QNLI": {"train": [104743], "dev": [5463], "test": [5463]},
    "RTE": {"train": [2490], "dev": [277], "test": [3000]},
    "WNLI": {"train": [635], "dev": [71], "test": [146]},
    "AX": {"AX": [1104]},
}
WITHOUT_HEADER = {("CoLA", "train"), ("CoLA", "dev")}

SQUAD = "https://rajpurkar.github.io/SQuAD-explorer/dataset"
# name: (bytes, SHA-256, questions)
SQUAD_FILES = {
    "train-v1.1.json": (30288272, "3527663986b8295af4f7fcdff1ba1ff3f72d07d61a20f487cb238a6ef92fd955", 87599),
    "dev-v1.1.json": (4854279, "95aa6a52d5d6a735563366753ca50492a658031da74f301ac5238b03966972c9", 10570),
    "train-v2.0.json": (42123633, "68dcfbb971bd3e96d5b46c7177b16c1a4e7d4bdef19fb204502738552dede002", 130319),
    "dev-v2.0.json": (4370528, "80a5225e94905956a6446d296ca1093975c4d3b3260f1d6c8f68bc2ab77182d8", 11873),
}
