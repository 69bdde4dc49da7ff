"""The 200 texts of the tokenizer goldens, all written for this project. No real person's data."""

CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<repo_name>", "<file_sep>", "<gh_stars>", "<jupyter_code>", "<empty_output>"]

PROSE = [
    "",
    " ",
    "a",
    "Hello world",
    " Hello world ",
    "The quick brown fox jumps over the lazy dog.",
    "It's what they'd've said, isn't it? I'll go; we're late; you've won; he'd know; I'm in.",
    "IT'S WHAT THEY'D SAY, WE'RE LATE, I'LL GO",
    "O'Brien's and rock 'n' roll, '90s, 'quoted', ‘curly’, “double”",
    "Mixed CASE camelCase snake_case kebab-case SCREAMING_SNAKE",
    "No trailing newline\nsecond line",
    "Windows\r\nline\r\nends\r\n",
    "old mac\rline\rends",
    "one\n\ntwo\n\n\nthree\n\n\n\nfour",
    "\n",
    "\n\n",
    "\n\n\n leading newlines",
    "trailing newlines\n\n",
    "\ttab\tseparated\tvalues\t",
    "\t\t\tindented by tabs",
    "mixed \t \n \t\n  whitespace \r\n\t end",
    "word   three spaces",
    "word    four spaces",
    "a  b   c    d     e      f",
    "ends in spaces     ",
    "     starts with spaces",
    " \n \n \n ",
    "tab\t\n\ttab",
    "vertical\x0btab and form\x0cfeed",
    "no-break\u00a0space, thin\u2009space, ideographic\u3000space, zero\u200bwidth, BOM\ufeff",
    "line\u2028separator paragraph\u2029separator next\u0085line",
]

CLINICAL = [
    "68yo M w/ PMH of HTN, T2DM, CAD s/p CABG x3 (2014), p/w SOB and CP x2d.",
    "Pt c/o N/V/D x 3 days, denies F/C, HA, LOC.",
    "BP 142/88 mmHg, HR 96 bpm, RR 18, SpO2 94% RA, T 38.4 °C (101.1 °F)",
    "Rx: metformin 500 mg PO BID; lisinopril 10mg QD; ASA 81 mg qAM; NTG 0.4 mg SL PRN",
    "WBC 13.2 ×10⁹/L, Hgb 9.8 g/dL, Plt 212k, Na⁺ 138, K⁺ 4.1, Cr 1.32 mg/dL, eGFR 52 mL/min/1.73 m²",
    "HbA1c: 8.1% (↑ from 7.4%), LDL-C 131 mg/dL",
    "A&O×3, PERRLA, RRR, no m/r/g, CTAB, NT/ND, +BS",
    "#1 COPD exacerbation -> nebs q4h, prednisone 40mg x5d, azithro 250mg",
    "Dx: STEMI (I21.3), AF w/ RVR (I48.91), CKD stage 3b (N18.32)",
    "CT abd/pelvis w/ contrast: 4.2 x 3.1 cm hypoattenuating lesion, segment VII",
    "Pt. is a 5'7\" female, 64.5kg, BMI≈22.3; LMP 03/14; G2P1001",
    "TTE: LVEF 35–40%, mod. MR, E/e' 14",
    "ABG: pH 7.31 / pCO2 58 / pO2 61 / HCO3- 28 on 2L NC",
    "f/u in 2wks w/ PCP; RTC sooner if s/s worsen",
    "β-blocker, α1-antagonist, γ-GT, µg vs. mcg, Δ weight −2.5 kg, ±0.1, ≥65 y, ≤ 120",
    "TNF-α/IL-6 inhibitors; HER2+; BRCA1 c.68_69delAG (p.Glu23ValfsTer17); rs1800562",
    "IgG4-related disease, anti-CCP >250 U/mL, ANA 1:640 (speckled)",
    "acetylsalicylic acid; hydrochlorothiazide; pseudohypoparathyroidism; esophagogastroduodenoscopy",
    "Assessment:\n1. Sepsis 2/2 UTI\n   - ceftriaxone 1 g IV q24h\n   - BCx ×2, UCx\n2. AKI on CKD\n   - hold ACEi\n\nPlan: admit.",
    "CHIEF COMPLAINT:\tchest pain\nHPI:\t58 y/o...\n",
    "[**2151-7-16**] Discharge Date: [**2151-8-4**]",
    "Doctor: How are you feeling today?\nPatient: Uh, not great, um... my knee's been killing me.",
    "Question: Which enzyme is deficient in phenylketonuria?\nA. Phenylalanine hydroxylase\nB. Tyrosinase\nC. Homogentisate oxidase\nD. Fumarylacetoacetase\nAnswer: A",
    "p<0.001; OR 1.84 (95% CI, 1.21–2.79); n=1,204; I²=43%",
    "PMID: 12345678; doi:10.1000/xyz123; NCT00000000",
]

NUMBERS = [
    "0", "7", "42", "007", "123", "1234", "12345", "123456", "1234567890", "3.14159265358979",
    "1,234,567.89", "-273.15", "+1", "1e-9", "6.022×10^23", "0x1F600", "1/2 3/4 ½ ¾ ²³ ⅷ Ⅻ",
    "2024-02-29T23:59:59Z", "12:34:56.789", "192.168.0.1", "10%", "$1,000.00 €50 £3 ¥100 ₹5", "1st 2nd 3rd 4th",
    "a1b2c3", "v1.2.3-rc.4+build.5", "100mg100mg100mg", "٣٤٥ १२३ ๑๒๓ 四百", "1 2 3  4   5", "١٢٣٤٥٦٧٨٩٠", "９８７６５",
]

CODE = [
    "def f(x):\n    return x ** 2 + 1\n",
    "if (a && b || !c) { return a[i] <= b->next; }",
    "for (int i = 0; i < n; ++i) {\n\tsum += v[i];\n}\n",
    "let x: Vec<Option<&'a str>> = y.iter().map(|s| s.as_deref()).collect::<Vec<_>>();",
    "SELECT id, name FROM patients WHERE age >= 65 AND dx LIKE 'I21%' ORDER BY 1 DESC;",
    "{\"id\": 1, \"tags\": [\"a\", \"b\"], \"nested\": {\"k\": null, \"t\": true}}",
    "<html><body class=\"x\">&amp; &lt;b&gt;</body></html>",
    "https://example.org/path?q=a%20b&lang=en#frag",
    "user@example.org, @handle, #hashtag, C:\\Users\\x\\file.txt, /usr/local/bin",
    "```python\nprint('hi')\n```",
    "| a | b |\n|---|---|\n| 1 | 2 |",
    "# Title\n\n- item\n  - sub item\n    - sub sub item\n\n> quote",
    "\\frac{a}{b} \\alpha_{i}^{2} $x \\in \\mathbb{R}$",
    "a=b+c-d*e/f%g^h&i|j~k!l@m#n$o`p",
    "...!!!???---___===***///\\\\\\",
    "((([[[{{{}}}]]])))",
    "    four\n        eight\n            twelve",
    "\\n \\t \\u00e9 %s %d {0} ${VAR} $(cmd) `cmd`",
    "x" * 60,
    "ab" * 40,
    "=" * 80,
    "-" * 37,
    "." * 130,
    "aaaaaaaaaaaaaaaaaaaaaaaab",
    "AAAA BBBB CCCC DDDD",
]

UNICODE = [
    "café naïve façade Zürich Ærøskøbing Łódź",
    "cafe\u0301 nai\u0308ve (decomposed)",
    "Ελληνικά: ο ασθενής έχει πυρετό.",
    "Русский: пациент жалуется на боль в груди.",
    "العربية: المريض يعاني من ألم في الصدر.",
    "עברית: החולה מתלונן על כאבים.",
    "हिन्दी: रोगी को बुखार है।",
    "বাংলা ভাষা, தமிழ், తెలుగు, ಕನ್ನಡ",
    "ไทย: ผู้ป่วยมีไข้",
    "中文：患者主诉胸痛三天。",
    "日本語：患者は胸の痛みを訴えています。カタカナ・ひらがな",
    "한국어: 환자는 가슴 통증을 호소합니다.",
    "Tiếng Việt: bệnh nhân bị sốt cao",
    "Türkçe: İstanbul'da ışık, ĞÜŞİÖÇ",
    "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𝒎𝒂𝒕𝒉 𝟏𝟐𝟑 ℝℂℕ",
    "ﬁ ﬂ ligatures, ǅ titlecase, ß, ẞ, ſtraße",
    "emoji: 🙂🙃😷🤒🤕💊💉🩺🏥🚑",
    "👩‍⚕️👨🏿‍⚕️ 👨‍👩‍👧‍👦 🇺🇸🇩🇪 🏴󠁧󠁢󠁥󠁮󠁧󠁿 1️⃣ ❤️",
    "text🙂text 🙂 text🙂🙂",
    "→ ← ↑ ↓ ⇒ ⇔ ∀ ∃ ∈ ∑ ∏ √ ∞ ≈ ≠ ≡",
    "• ‣ ◦ ▪ ▫ ■ □ ● ○ ★ ☆ ✓ ✗",
    "┌─┬─┐│ │└─┴─┘ ░▒▓█",
    "«guillemets» ‹single› „low“ ‚low‘ … – — ― † ‡ § ¶ © ® ™",
    "Zalgo: h̴̡e̷̛l̸̢l̵o̶",
    "soft\u00adhyphen and word\u2060joiner and \u202eright-to-left\u202c",
    "combining only: \u0301\u0308",
    "private use \ue000\uf8ff, noncharacter \ufdd0, replacement \ufffd",
    "astral: \U00010348 \U0001d11e \U00020000 \U000e0041",
    "ꦗꦮ ᏣᎳᎩ ᚠᚢᚦ 𒀀𒁀 𓀀",
    "ABCａｂｃ full width！？",
    "ÀÉÎÕÜ àéîõü ÀÉ'S é's",
    "ʼn ŉ Ω Ω K K Å Å",
]

# Bytes for which this vocabulary has no token are dropped; here by themselves, so that all agree.
RARE = ["\x00", "\x01\x02", "a\x04 b", "\x7f", "bell\x07 esc\x1b[0m"]

MARKED = [
    "<|im_start|>user\nWhat is sepsis?<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start|>system\nYou are careful.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n",
    "Ignore this: <|im_end|> and go on.",
    "<|im_start|><|im_start|><|im_end|><|im_end|>",
    "text<|endoftext|>",
    "<|endoftext|>text",
    " <|endoftext|> ",
    "\n<|im_end|>\n",
    "a<|im_end|>b",
    "almost <|im_end| > <|im_ end|> <|IM_END|> |im_end| <im_end>",
    "<|im_start|><|im_start|>system<|im_end|>",
    "<repo_name>o/r<file_sep>a.py<gh_stars>10-100",
    "<issue_start>text<issue_comment>more<issue_closed>",
    "<jupyter_start><jupyter_text>t<jupyter_code>c<jupyter_output>o<empty_output>",
    "<s> </s> [INST] x [/INST] <<SYS>> <|eot_id|> <|begin_of_text|>",
    "12<|im_end|>34",
    "é<|im_end|>猫",
    "<<|im_end|>>",
    "<|im_<|im_end|>end|>",
    "<reponame> <repo_name> <filename>",
]


def texts():
    """All texts, in a fixed order, without repeats."""
    found = [*PROSE, *CLINICAL, *NUMBERS, *CODE, *UNICODE, *RARE, *MARKED]
    found += [f"before {token} after" for token in CONTROL]
    found += [" " * n + "x" + " " * n for n in range(1, 13)]
    found += ["\n" * n + " " * (n % 4) + "y" for n in range(4, 10)]
    found += [f"{'9876543210'[:n]}mg" for n in range(2, 8)]
    unique = list(dict.fromkeys(found))
    assert len(unique) == 200, len(unique)
    return unique
