"""Tokenizers of fairseq's multilingual models (mBART, mBART-50, NLLB, M2M100) and of Pegasus: the ids that their pieces get.

A SentencePiece model says the pieces; what is around them is in the order of the models' authors, as transformers 4 had it.
Before or after a text stands the language that it is in; the one to translate into is the first token of the answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from weft.errors import TokenizerError
from weft.text import marian, rebuild
from weft.text.sentencepiece import Kind, Model, Piece, read_sentencepiece
from weft.text.settings import Settings
from weft.text.vocabularies import read_vocabulary

M2M100_FILES = ("sentencepiece.bpe.model", "vocab.json")
MBART = """
    ar_AR cs_CZ de_DE en_XX es_XX et_EE fi_FI fr_XX gu_IN hi_IN it_IT ja_XX kk_KZ ko_KR lt_LT lv_LV my_MM ne_NP nl_XX
    ro_RO ru_RU si_LK tr_TR vi_VN zh_CN
""".split()  # noqa: SIM905
"""Codes in the order of their ids."""
MBART50 = [*MBART, *"""
    af_ZA az_AZ bn_IN fa_IR he_IL hr_HR id_ID ka_GE km_KH mk_MK ml_IN mn_MN mr_IN pl_PL ps_AF pt_XX sv_SE sw_KE ta_IN
    te_IN th_TH tl_XX uk_UA ur_PK xh_ZA gl_ES sl_SI
""".split()]  # noqa: SIM905
NLLB = """
    ace_Arab ace_Latn acm_Arab acq_Arab aeb_Arab afr_Latn ajp_Arab aka_Latn amh_Ethi apc_Arab arb_Arab ars_Arab ary_Arab
    arz_Arab asm_Beng ast_Latn awa_Deva ayr_Latn azb_Arab azj_Latn bak_Cyrl bam_Latn ban_Latn bel_Cyrl bem_Latn ben_Beng
    bho_Deva bjn_Arab bjn_Latn bod_Tibt bos_Latn bug_Latn bul_Cyrl cat_Latn ceb_Latn ces_Latn cjk_Latn ckb_Arab crh_Latn
    cym_Latn dan_Latn deu_Latn dik_Latn dyu_Latn dzo_Tibt ell_Grek eng_Latn epo_Latn est_Latn eus_Latn ewe_Latn fao_Latn
    pes_Arab fij_Latn fin_Latn fon_Latn fra_Latn fur_Latn fuv_Latn gla_Latn gle_Latn glg_Latn grn_Latn guj_Gujr hat_Latn
    hau_Latn heb_Hebr hin_Deva hne_Deva hrv_Latn hun_Latn hye_Armn ibo_Latn ilo_Latn ind_Latn isl_Latn ita_Latn jav_Latn
    jpn_Jpan kab_Latn kac_Latn kam_Latn kan_Knda kas_Arab kas_Deva kat_Geor knc_Arab knc_Latn kaz_Cyrl kbp_Latn kea_Latn
    khm_Khmr kik_Latn kin_Latn kir_Cyrl kmb_Latn kon_Latn kor_Hang kmr_Latn lao_Laoo lvs_Latn lij_Latn lim_Latn lin_Latn
    lit_Latn lmo_Latn ltg_Latn ltz_Latn lua_Latn lug_Latn luo_Latn lus_Latn mag_Deva mai_Deva mal_Mlym mar_Deva min_Latn
    mkd_Cyrl plt_Latn mlt_Latn mni_Beng khk_Cyrl mos_Latn mri_Latn zsm_Latn mya_Mymr nld_Latn nno_Latn nob_Latn npi_Deva
    nso_Latn nus_Latn nya_Latn oci_Latn gaz_Latn ory_Orya pag_Latn pan_Guru pap_Latn pol_Latn por_Latn prs_Arab pbt_Arab
    quy_Latn ron_Latn run_Latn rus_Cyrl sag_Latn san_Deva sat_Beng scn_Latn shn_Mymr sin_Sinh slk_Latn slv_Latn smo_Latn
    sna_Latn snd_Arab som_Latn sot_Latn spa_Latn als_Latn srd_Latn srp_Cyrl ssw_Latn sun_Latn swe_Latn swh_Latn szl_Latn
    tam_Taml tat_Cyrl tel_Telu tgk_Cyrl tgl_Latn tha_Thai tir_Ethi taq_Latn taq_Tfng tpi_Latn tsn_Latn tso_Latn tuk_Latn
    tum_Latn tur_Latn twi_Latn tzm_Tfng uig_Arab ukr_Cyrl umb_Latn urd_Arab uzn_Latn vec_Latn vie_Latn war_Latn wol_Latn
    xho_Latn ydd_Hebr yor_Latn yue_Hant zho_Hans zho_Hant zul_Latn
""".split()  # noqa: SIM905
M2M100 = """
    af am ar ast az ba be bg bn br bs ca ceb cs cy da de el en es et fa ff fi fr fy ga gd gl gu ha he hi hr ht hu hy id
    ig ilo is it ja jv ka kk km kn ko lb lg ln lo lt lv mg mk ml mn mr ms my ne nl no ns oc or pa pl ps pt ro ru sd si
    sk sl so sq sr ss su sv sw ta th tl tn tr uk ur uz vi wo xh yi yo zh zu
""".split()  # noqa: SIM905
WMT21 = "en ha is ja cs ru zh de".split()  # noqa: SIM905
CODES = {"MBart": MBART, "MBart50": MBART50, "Nllb": NLLB}
"""Class of the tokenizer -> codes of its languages, where they follow the pieces."""
USUAL = {"MBart": "en_XX", "MBart50": "en_XX", "Nllb": "eng_Latn", "M2M100": "__en__"}
"""The language of a text where the checkpoint says none."""
_LANGUAGE = re.compile("[a-z]{2}_[A-Z]{2}|[a-z]{3}_[A-Z][a-z]{3}|__[a-z]{2,3}__|>>[^<>]+<<")


def language_code(token: str) -> str:
    """The code that a special token stands for: `de` of __de__ and of >>de<<, itself of de_DE; empty if it is no language."""
    return token.strip("_<>") if _LANGUAGE.fullmatch(token) else ""


def source_language(settings: Settings) -> str:
    """The token of the language that texts are in."""
    said = settings.values.get("src_lang")
    usual = USUAL[settings.name or "M2M100"]
    return usual if said is None else f"__{said}__" if usual.startswith("__") else str(said)


def fairseq(model: Model, settings: Settings) -> Model:
    """XLM-R and its kin: fairseq's special tokens in place of the first three pieces; behind all, languages and a mask.

    Raises TokenizerError for a file whose first pieces are others.
    """
    first = [piece.text for piece in model.pieces[:3]]
    if sorted(first) != ["</s>", "<s>", "<unk>"]:
        raise TokenizerError(f"{settings.folder}: the SentencePiece model begins with {', '.join(first)}; one of fairseq's "
                             f"begins with <unk>, <s> and </s>")
    last = [*CODES.get(settings.name or "", ()), "<mask>"]
    return replace(model, pieces=(*_special(("<s>", "<pad>", "</s>", "<unk>")), *model.pieces[3:], *_special(last)))


def m2m100(settings: Settings) -> Any:
    """vocab.json numbers the pieces; languages come behind, then rows of the embedding without a token.

    Raises TokenizerError.
    """
    folder = settings.folder
    source, vocabulary = read_sentencepiece(folder / M2M100_FILES[0]), read_vocabulary(folder / M2M100_FILES[1])
    named = settings.values.get("language_codes", "m2m100")
    if named not in ("m2m100", "wmt21"):
        raise TokenizerError(f"{folder / 'tokenizer_config.json'} has language_codes = {named!r}; Weft knows m2m100 and wmt21")
    roles = settings.roles("m2m100")
    special = {roles[f"{role}_token"] for role in ("bos", "pad", "eos", "unk")}
    lacking = sorted(special - set(vocabulary))
    if lacking:
        raise TokenizerError(f"{folder / M2M100_FILES[1]} lacks {', '.join(lacking)}")
    languages = [f"__{code}__" for code in (M2M100 if named == "m2m100" else WMT21)]
    whole = vocabulary | {token: len(vocabulary) + index for index, token in enumerate(languages)}
    try:
        rebuild.refuse(source)
        if source.algorithm != 1:
            raise TokenizerError(f"model_type {source.algorithm}; of M2M100's models Weft reads unigram ones (1)")
        return marian.build(source, marian.renumbered(source, whole, roles["unk_token"], {*special, *languages}))
    except TokenizerError as error:
        raise TokenizerError(f"{folder / M2M100_FILES[0]}: {error}") from error


def pegasus(model: Model, settings: Settings) -> Model:
    """What hides sentences and words in pre-training, and places nobody uses, between the first two pieces and the others.

    offset: how many. Raises TokenizerError where the checkpoint says it is no number.
    """
    offset, masks = settings.values.get("offset", 103), (settings.values.get("mask_token_sent", "<mask_1>"),
                                                         settings.roles("sentencepiece")["mask_token"])
    if offset == 0:
        return model
    if type(offset) is not int or not 2 <= offset <= 10_000 or not all(isinstance(mask, str) for mask in masks):
        raise TokenizerError(f"{settings.folder / 'tokenizer_config.json'} has offset = {offset!r:.40} and masks {masks!r:.60};"
                             f" Weft reads Pegasus' tokenizer with two masks and an offset of 2 to 10,000, or 0")
    middle = (*masks, *(f"<unk_{index}>" for index in range(2, offset)))
    return replace(model, pieces=(*model.pieces[:2], *_special(middle), *model.pieces[2:]))


def _special(texts: Iterable[str]) -> tuple[Piece, ...]:
    return tuple(Piece(text, kind=Kind.UNKNOWN if text == "<unk>" else Kind.CONTROL) for text in texts)
