"""Writes the ROUGE, Porter and novelty goldens of the `text` crate.

Pinned: Python 3.11, rouge-score==0.1.2, nltk==3.10.4 (numpy and absl-py come with rouge-score; their versions do
not matter). All texts are made here from this script's own word lists with a fixed seed; nothing is downloaded.

    python3 -m venv venv && venv/bin/pip install rouge-score==0.1.2 nltk==3.10.4
    venv/bin/python make_rouge.py          # rewrites the three files beside it

rouge_pairs.jsonl         {"target","prediction","plain":{kind:"p r f"},"stemmed":{kind:"p r f"}}, 500 rows
porter_words.tsv          word <tab> stem
novelty_decisions.jsonl   {"text","seed",<rule>:{"kept","f","winner"}}: 20 seed rows, then 400 candidates in order;
                          "winner" is the line (from 0) of the earliest row with the highest F among all seeds and kept
                          rows, null when the candidate is kept; "f" is that highest F, kept or not

Doubles are written as strings, because common JSON readers are off by one unit in the last place.
"""

import json
import pathlib
import random

import nltk
from nltk.stem import porter
from rouge_score import rouge_scorer

assert nltk.__version__ == "3.10.4", nltk.__version__
HERE = pathlib.Path(__file__).resolve().parent
KINDS = ["rouge1", "rouge2", "rouge3", "rougeL", "rougeLsum"]

STEMS = """anem arthr bronch carcin cardi cephal chol chondr col cyst cyt derm encephal enter erythr fibr gastr gloss
hemat hepat hist hyster immun kerat lapar laryng leuk lip lith mamm mening my nephr neur oste ot path pharyng phleb
pneumon proct psych pulmon pyel ren rhin scler splen spondyl stomat thorac thromb tox trache ur vascul ventricul vesic"""
ENDINGS = """al algia ectomy emia ic ical ist itis ogenic ology ological ologies opathy oscopy osis otomy ous plasty
uria ostomy ization izations ational"""
ROOTS = """absorb accept act adapt adjust administ admit advis agree allerg alter analyz answer appear appl assess
associat bleed breath calculat carr caus chang circulat classif clot combin communicat compar complicat concentrat condition
confirm consult continu contract control correct cough deni depend describ detect develop diagnos digest dilat discharg
disturb dos effect eliminat enlarg estimat evaluat examin excret expect explain expos extract fail feel fit form function
general hop identif immuniz improv increas infect inflam inhibit inject injur instruct interpret irritat isol label
list locali measur medic metaboliz monitor motivat necessit normal nurs observ obstruct operat optim oxygen perform
pill plan predict prescrib prevent proceed prolong prophyl provid question radiat recommend recover reduc refer relapse
relat reliev remov repl report resist respond restrict rotat scan screen sedat select sens separat sequenc simplif
smok stabil stimulat stop strain suggest summar suppl suppress swell symptom tolerat transfus transplant treat trigger
ulcerat vaccin valu ventilat vomit weigh"""
SUFFIXES = """e s es ed ing y ies ied ier ly ion ions ional ionally ive ively iveness ivity able ably ability ible
ibly ibility er ers or ors ment ments ness ful fully fulness less ous ously ousness al ally ality alism alize
ance ances ancy ence ences ency ent ently ant antly ate ated ation ative ator ic ical ically icate icity ism ist iti ize
ized izer ization logy logist logies eed eedly ement"""
ODD = """sky skies skying die dies died dying lie lies lied lying tie ties tied tying news innings inning outings
outing cannings canning howe proceed proceeds proceeding exceed exceeds exceeding succeed succeeded succeeding
spied spies spy flies fly tries try cry cried happy enjoy enjoyment enjoying say says day days boy boys
toy syzygy yyyy yyyyy ayyy yield yes year eye eyes employ employed by my ay at as is us be ab abs ed ing
ing sing king bring bled bleed feed freed agreed seed need needed speed exceeded caresses caress ponies cats ss sss
hopping tanned falling hissing fizzed failing filing sized troubled conflated motoring plastered rate cease probate
controlling controlled roll rolled rolls relational conditional rational rationally conditionally formally nationally
radically vilely analogously hesitancy valency digitizer conformably differently feudalism decisiveness hopefulness
callousness formality sensitivity sensibility possibly terribly ably bly sensibly geology geologi theology archaeology
philology apology biology logi ology analogy analogies fully carefully dreadfully awfully wilfully triplicate
formative formalize electricity electrical hopeful goodness revival allowance inference airliner gyroscopic adjustable
defensible irritant replacement adjustment dependent adoption homologous homologou communism activate angularity
effective bowdlerize ion ions lion station onion nation region religion oed ated ating izing bling blood ble bl
h1n1 covid19 covid-19 b12 b12ing 5ht3 22ing a22ed 11s t4s p53 il6 ng2ies hba1c 2000s 100mg abba1122ing 7y 77y a7y
ax axed aw awed box boxes boxing fix fixing tow towing play playing played bow was has this pus plus gas bus virus viruses
ooed aaing eeing seeing being skiing taxiing radii alumni criteria diagnoses diagnosis bacteria apices indices
dyspnea apnea myalgia oedema kidneys kidney arteries artery biopsies biopsy therapies therapy severity necessary
us-ing as-is ies aies bies xies ied bied aied eed aeed beed s es 's alli aballi finally totalli ration nation aional
operationally ventilationally institutionalization internationalization sensationalism electroencephalographically
yyying ying styling stying trying drying y yy yay yaying sssing zzzed lled alled alling
ménière naïveness β βy πies πied aβies αγed"""

LINK = """a about after and at before between by during each five for four from her his if in list of on one or over six
that the three to two under with""".split()
VERBS = """Analyze Classify Compare Describe Draft Estimate Explain Extract Generate Identify Interpret List Outline
Predict Recommend Rewrite Shorten Suggest Summarize Translate""".split()
NOUNS = """abdomen airway albumin allergy anemia ankle antibody antigen aorta artery asthma bacterium bile biopsy
bladder blood bone brain breath bronchitis calcium cancer candidate capsule cardiologist caregiver cartilage catheter
cell chart chest cholesterol clinic clot cohort colon consent cough culture cycle cytokine diabetes diagnosis dialogue diet
discharge disease dizziness donor dose duct edema electrolyte elbow embolism emergency endocrine enzyme esophagus
exam exercise exposure eyelid fatigue femur fever fiber fluid forearm fracture fungus gallbladder gene genome gland glucose
gout graft headache hearing heart hemoglobin hernia hormone hospital hygiene hypertension immunity implant
incision infant infection inflammation infusion inhaler injury insulin intestine iron jaundice joint kidney knee
lactate larynx lesion ligament lipid liver lung lymph marrow medication membrane metabolism migraine mutation muscle
nausea nerve neuron nodule note nurse nutrition obesity oncologist organ outcome ovary oxygen pain pancreas pathogen
patient pelvis pharmacist phosphate placebo plasma platelet pneumonia potassium pregnancy prescription pressure
procedure prognosis protein protocol pulse questionnaire rash receptor record recovery referral reflex rehabilitation
relapse renal report respiration retina rhythm saliva sample screening section sedation seizure sepsis serum
shoulder sinus skeleton skin sleep smear sodium specimen spine spleen sputum statin steroid stomach stroke
summary surgeon surgery swelling symptom syndrome tablet tendon therapy thorax throat thyroid tissue toxin trachea
transfusion trauma tremor trial tumor ulcer ultrasound ureter urine uterus vaccine valve vein ventricle vertebra
virus vision vitamin vomiting weakness weight wound wrist""".split()
RARE = ["β-blocker", "naïve", "TNF-α", "97.7°F", "4.5", "mg/dL", "HbA1c", "5 \u212aelvin", "\u0130stanbul score", "H₂O",
        "µg", "x²", "COVID-19", "Ångström", "IL-6/IL-10", "p<0.05", "ﬁbrosis", "İi", "don't", "心臓", "q.i.d.", "Ménière's",
        "3×10⁹", "½", "\u00a0", "Sjögren", "—", "e\u0301tude", "120/80", "١٢", "\u1e9e", "_under_score_"]


def sentence(rng, length):
    """Words of a made-up sentence, link words strewn in."""
    return [rng.choice(NOUNS) if rng.random() < 0.65 else rng.choice(LINK) for _ in range(length)]


def edited(rng, words, rate):
    """A near copy: words dropped, replaced, swapped, doubled and inserted."""
    out = []
    for word in words:
        draw = rng.random()
        if draw < rate / 4:
            continue
        if draw < rate / 2:
            out.append(rng.choice(NOUNS))
        elif draw < 3 * rate / 4:
            out.extend([word, rng.choice(LINK)])
        elif draw < rate and out:
            out.insert(len(out) - 1, word)
        else:
            out.append(word)
    return out


def tied(rng, m, n, common):
    """Two lists of m and n words whose LCS is `common` exactly: all their words differ but the shared ones."""
    words = rng.sample(NOUNS, m + n - common)
    shared, left, right = words[:common], words[common:m], words[m:]

    def weave(own):
        total = common + len(own)
        places = set(rng.sample(range(total), common))
        shared_iter, own_iter = iter(shared), iter(own)
        return [next(shared_iter) if i in places else next(own_iter) for i in range(total)]

    return weave(left), weave(right)


def dressed(rng, words):
    """The words as running text: case, punctuation, line breaks, and now and then something outside ASCII."""
    parts = []
    for word in words:
        if rng.random() < 0.08:
            word = rng.choice([word.upper(), word.capitalize(), word + "s", word + "ing", word + "ed"])
        if rng.random() < 0.05:
            word = rng.choice(RARE)
        parts.append(word + rng.choice([" "] * 16 + [", ", ". ", "-", "\n", "\n\n", "; ", "\t", " (", ") "]))
    return "".join(parts)


def rouge_pairs(rng):
    pairs = [("", ""), ("", "fever"), ("fever", ""), (" \n\t ", "fever"), ("fever", "—"), ("αβγ", "αβγ"), ("\n", "\n"),
             ("\u212a", "k"), ("\u0130", "i"), ("i\u0307", "\u0130"), ("β-blocker", "blocker"), ("naïve", "na ve"),
             ("4.5 mg", "45 mg"), ("97.7°F", "97 7 f"), ("fever\r\ncough", "fever\ncough"), ("a", "a"), ("a a a", "a"),
             ("a b a b a b", "b a b a"), ("the the the cat", "the cat the cat"), ("one two\nthree four", "three four\none two"),
             ("a\n\na b\nb", "a b\na b a"), ("dying skies\nlying news", "die sky\nlie news"), ("x" * 300, "x" * 299)]
    for m, n, common in [(7, 13, 7), (13, 7, 7), (8, 12, 7), (9, 11, 7), (10, 10, 7), (11, 9, 7), (12, 8, 7), (20, 20, 14),
                         (14, 26, 14), (18, 22, 14), (17, 23, 14), (30, 30, 21), (25, 35, 21), (29, 31, 21), (40, 40, 28)]:
        for _ in range(4):
            left, right = tied(rng, m, n, common)
            pairs.append((" ".join(left), " ".join(right)))
    while len(pairs) < 440:
        words = sentence(rng, rng.choice([1, 2, 3, 5, 8, 12, 18, 30, 60]))
        other = edited(rng, words, rng.choice([0.1, 0.3, 0.6])) if rng.random() < 0.8 else sentence(rng, 15)
        pairs.append((dressed(rng, words), dressed(rng, other)))
    while len(pairs) < 470:  # few word types: many repeats, long LCS ties, union-LCS backtracking
        small = rng.sample(NOUNS, 3)
        make = lambda: "".join(rng.choice(small) + rng.choice([" ", " ", " ", "\n"]) for _ in range(rng.randint(1, 40)))
        pairs.append((make(), make()))
    while len(pairs) < 500:  # texts longer than one and two machine words
        words = sentence(rng, rng.choice([63, 64, 65, 127, 128, 129, 150]))
        pairs.append((dressed(rng, words), dressed(rng, edited(rng, words, 0.5))))
    return pairs


def write_pairs(rng):
    plain = rouge_scorer.RougeScorer(KINDS, use_stemmer=False)
    stemmed = rouge_scorer.RougeScorer(KINDS, use_stemmer=True)
    triple = lambda scores: {k: " ".join(repr(float(x)) for x in s) for k, s in scores.items()}
    with open(HERE / "rouge_pairs.jsonl", "w", encoding="utf-8") as out:
        for target, prediction in rouge_pairs(rng):
            row = {"target": target, "prediction": prediction, "plain": triple(plain.score(target, prediction)),
                   "stemmed": triple(stemmed.score(target, prediction))}
            out.write(json.dumps(row, ensure_ascii=True, separators=(",", ":")) + "\n")


def write_porter(rng):
    words = set(word for word in ODD.split() if word.isalnum())
    words.update(stem + ending for stem in STEMS.split() for ending in ENDINGS.split())
    derived = sorted(root + suffix for root in ROOTS.split() for suffix in SUFFIXES.split())
    words.update(rng.sample(derived, 2600))
    words.update(NOUNS + LINK + ["".join(rng.choice("aeybdlstz") for _ in range(rng.randint(3, 9))) for _ in range(400)])
    stemmer = porter.PorterStemmer()
    with open(HERE / "porter_words.tsv", "w", encoding="utf-8") as out:
        out.writelines(f"{word}\t{stemmer.stem(word)}\n" for word in sorted(words))
    print(len(words), "words")


def novelty_texts(rng):
    """20 seeds and 400 candidates. Two thirds of the candidates stand at or near F = 0.7 to an earlier text."""
    make = lambda length: [rng.choice(VERBS)] + sentence(rng, length - 1)
    seeds = [make(rng.choice([7, 8, 9, 10, 10, 11, 12, 13, 18])) for _ in range(20)]
    texts = list(seeds)
    while len(texts) < 420:
        draw = rng.random()
        if draw < 0.25:
            texts.append(make(rng.randint(5, 16)))
        elif draw < 0.8:  # tie, or one word off a tie, against an earlier text
            base = rng.choice(texts)
            m = len(base)
            options = [(n, 7 * (m + n) // 20) for n in range(1, 60)
                       if 7 * (m + n) % 20 == 0 and 7 * (m + n) // 20 <= min(m, n)]
            if not options:
                texts.append(edited(rng, base, 0.3))
                continue
            n, common = rng.choice(options)
            common = max(1, min(common + rng.choice([0, 0, 0, 0, -1, 1]), m, n))
            kept = sorted(rng.sample(range(m), common))
            shared, fresh = [base[i] for i in kept], rng.sample([w for w in NOUNS if w not in base], n - common)
            places = set(rng.sample(range(n), common))
            texts.append([shared.pop(0) if i in places else fresh.pop() for i in range(n)])
        elif draw < 0.97:
            texts.append(edited(rng, rng.choice(texts), rng.choice([0.0, 0.1, 0.4])))
        else:
            texts.append([rng.choice(["—", "", "αβγ", "βλα δ", "…"])])
    return [" ".join(words) for words in texts]


def write_novelty(rng):
    texts = novelty_texts(rng)
    scorer = rouge_scorer.RougeScorer(["rougeL"], use_stemmer=False)
    tokens = [scorer._tokenizer.tokenize(text) for text in texts]
    score = lambda i, j: rouge_scorer._score_lcs(tokens[i], tokens[j]).fmeasure
    rules = {"alpaca": lambda f: f <= 0.7, "paper": lambda f: f < 0.7}
    rows = [{"text": text, "seed": i < 20} for i, text in enumerate(texts)]
    for name, keeps in rules.items():
        pool, ties = list(range(20)), 0
        for i in range(20, len(texts)):
            scores = [score(i, j) for j in pool]
            best = max(scores)
            winner = pool[scores.index(best)]
            ties += abs(best - 0.7) < 1e-9
            kept = keeps(best)
            rows[i][name] = {"kept": kept, "f": repr(float(best)), "winner": None if kept else winner}
            if kept:
                pool.append(i)
        print(name, "kept", len(pool) - 20, "of", len(texts) - 20, "with", ties, "best scores at 0.7")
    with open(HERE / "novelty_decisions.jsonl", "w", encoding="utf-8") as out:
        for row in rows:
            out.write(json.dumps(row, ensure_ascii=True, separators=(",", ":")) + "\n")
    print("rules differ on", sum(r["alpaca"]["kept"] != r["paper"]["kept"] for r in rows[20:]), "rows")


if __name__ == "__main__":
    write_pairs(random.Random(2023))
    write_porter(random.Random(2024))
    write_novelty(random.Random(2025))
