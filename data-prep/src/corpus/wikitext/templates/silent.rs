//! Templates that show nothing in running text: notes, what editors ask of each other, pictures, boxes beside the text. What is
//! not listed here and in no table is a gap in its sentence.

use std::collections::HashSet;
use std::sync::LazyLock;

/// Whether the template of this name leaves its sentence whole.
pub(super) fn is_silent(name: &str) -> bool {
    static SET: LazyLock<HashSet<&str>> = LazyLock::new(|| NAMES.split('|').map(str::trim).collect());
    SET.contains(name)
        || BEGINNINGS.iter().any(|start| name.starts_with(start))
        || ENDS.iter().any(|end| name.ends_with(end))
}

/// What the names of many such templates start with.
const BEGINNINGS: [&str; 68] = [
    // pronunciations, and the sources of what is computed
    "ipa-",
    "ipac-",
    "inflation-",
    // references and their marks
    "cite ",
    "citation ",
    "sfn",
    "efn",
    "refn",
    "harv",
    "reflist",
    "notelist",
    "ref ",
    "note ",
    "ouvrage",
    "article",
    "lien web",
    "literatur",
    "internetquelle",
    "cita ",
    "citar",
    "citeer",
    "webbref",
    "bokref",
    "tidningsref",
    "kilde www",
    "kilde bok",
    "cytuj",
    "citace",
    "книга",
    "статья",
    "публикация",
    "harvard",
    "r/",
    "источник",
    "vcite",
    "cnote",
    // notes of editors
    "citation needed",
    "clarif",
    "better source",
    "disputed",
    "dubious",
    "failed ver",
    "full cit",
    "page needed",
    "verif",
    "year needed",
    "expand",
    "unreferenced",
    "refimprove",
    "more citations",
    "not verified",
    "needs ",
    // beside the text
    "infobox",
    "taxobox",
    "navbox",
    "short desc",
    "use ",
    "engvar",
    "ficha",
    "info/",
    "карточка",
    "portal",
    "commons",
    "authority",
    "redirect",
    "further",
    "see also",
    "pronunciation",
];

/// What the names of many such templates end with.
const ENDS: [&str; 9] = ["-stub", " stub", "-inline", " inline", "-icon", " icon", "infobox", "box", "-note"];

const NAMES: &str = "
main|about|who|who?|when|when?|rp|update after|update inline|update needed|update|coordinate|нет аи|уточнить|кто|когда|где|какой|почему|источник?|
нет в источнике|неавторитетный источник|сомнительно|прояснить|джерело|джерело?|хто|коли|де|який|чому|
ref|refbegin|refend|r|rf|ref label|note|note label|notetag|efn-ua|efn-lr|ref-label|citation|cn|fact|cref|cref2|fn|fnb|fnote|#tag:ref|ent|nota|
anchor|anchors|anker|ancla|âncora|ancora|ancre|якорь|kotwica|ankare|アンカー|錨|锚点|shortcut|clear|clearleft|clearright|clr|clr left|-|break left|
where|why|which|what|how|by whom|whose|like whom|according to whom|attribution needed|specify|vague|fv|pn|page number|weasel inline|peacock inline|
compared to?|contradict|definition needed|example needed|incomprehensible inline|jargon inline|lead too short|opinion|or|synthesis inline|primary source|
self-published source|sps|third-party source|undue weight inline|unbalanced opinion|unreliable source?|rs?|unreliable fringe source|nonspecific|importance inline|
non-primary source needed|non sequitur|neologism inline|os|chronology citation needed|date missing|dn|disambiguation needed|dab needed|dead link|dl|lien brisé|
enlace roto|ligação inativa|collegamento interrotto|toter link|webarchive|cbignore|wayback|bots|nobots|inconsistent|globalize inline|buzz inline|too many examples|
ambiguous|long quote inline|request quotation|quote without source|retracted|source-attribution|tone inline|understand inline|which lang|which calendar?|
nowrap begin|nowrap end|nwb|nwe|wrap|no break begin|small begin|toc left|toc right|toc limit|toc|tocright|compact toc|coord missing|geo
|flagicon|flag icon|flagdeco|fbicon|fb-flag|flagg icon|flagicone|drapeau|drapeau-|bandera|bandeira|bandiera|flaga|флаг icon|flaggbild|vlagicon|flagge|pais icon|
increase|decrease|steady|profit|loss|no change|gain|increasenegative|decreasepositive|up|down|star|tick|ya|na|yes check|cross|check mark|aye|x mark|
ntsh|hs|hid|hidden sort key|dtsh|sort key|sortkey|display none|hidden|void|empty|end|top|bottom|col-begin|col-end|col-2|col-break|div col|div col end|end div col|colbegin|colend|
ipa-en|ipac-en|ipac|ipa-all|respell|pron|pron-en|pronounced|usdict|audio|audio-ipa|listen|ljudlänk|lyd|sound|pronunciation|prononciation|api|api-|afi|ipa2|мфа|мфа2|
aussprache|lautschrift|audio-de|escuchar|ouvir|écouter|luister|lyssna|音声|발음|ipa icon|h:ipa|ogg|sample box start|multi-listen start|
en|de|fr|es|it|pt|la|sv|nl|pl|cs|en icon|in lang|inlang|indicator|language icon|lang icon|link language|ref-en|ref-de|ref-fr|ref-la|ref-es|ref-it|ru icon|ref lang|
image|multiple image|css image crop|double image|image frame|gallery|wide image|panorama|quote box|side box|sister project|wikisource|wikiquote|wiktionary|wikivoyage|wikidata|
defaultsort|displaytitle|italic title|lowercase title|lowercase|title disambig|distinguish|for|hatnote|other uses|other people|good article|featured article|pp|pp-move|pp-semi|
featured|dmy dates|mdy dates|use dmy dates|use mdy dates|multiple issues|cleanup|copy edit|pov|npov|under construction|in use|hidden begin|hidden end|
refnec lead|réf nec|référence nécessaire?|réf|sfnp|sfnm|sfn0|harvsp|harvnb|harvp|p.ref|note autre projet|homonymie|voir homonymes|en-tête label|ébauche|confusion|à ne pas confondre|
méta bandeau|article détaillé|voir|loupe|portail|palette|références|autres projets|bases|liens|légende plume|plume|image label|bandeau|admissibilité|sources secondaires|
unité à vérifier|non source|belege|belege fehlen|quelle|überarbeiten|lückenhaft|hauptartikel|siehe auch|normdaten|personendaten|begriffsklärung|begriffsklärungshinweis|
dieser artikel|absatz|anmerkung|fn anker|fnz|fnbox|charlemagne icon|webarchiv|der spiegel|gemeindeverzeichnis|
нет аи?|нет источников|переход|см. также|основная статья|о|значения|другие значения|нет ссылок|стиль|переработать|внешние ссылки|библиоинфо|викисклад|примечания|sfn-текст|достоверность|
джерела|примітки|бібліоінформація|нема джерел|див. також|основна стаття|сн|refl|odn|odn2|przypisy|kontrola autorytatywna|dopracować|osobny artykuł|main article|disambigr|
要出典|要検証|いつ|誰|どこ|誰2|いつ2|要ページ番号|要説明|refnest|出典の明記|参照方法|main2|脚注ヘルプ|脚注|独自研究|複数の問題|皇室記事|要曖昧さ回避|正確性|いつ?|誰?|要高次出典|
来源请求|來源請求|谁|何时|何時|哪里|哪裡|为什么|為什麼|需要解释|何地|谁说的|noteta|地区用词|地區用詞|cgroup|noteta/start|refless|noref|original research|tnl|uncategorized|分类|link style|
출처|누가|언제|모호|각주|다른 뜻|사실|출처필요|문단별 출처 필요|
senza fonti|nota disambigua|vedi anche|interprogetto|controllo di autorità|portale|div col|torna a|bio|cita|dmoz|
referencias|listaref|control de autoridades|otros usos|ap|véase también|principal|vt|artículo principal|referencias adicionales|refmejorar|traducido de|ord icon|
referências|ver também|artigo principal|controle de autoria|ver desambig|sem fontes|mais fontes|sem notas|dmy-all|desambiguação|
appendix|bronvermelding|hoofdartikel|zie hoofdartikel|dp|bron|beginnetje|zijbalk|referenties|huvudartikel|se även|auktoritetsdata|källor|olika betydelser|robotskapad|fotnoter|hovedartikel|kilder|autoritetsdata|reflist2
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_silent_and_words_are_not() {
        for name in
            ["cite web", "sfn", "citation needed", "infobox person", "flagicon", "anchor", "要出典", "article détaillé"]
        {
            assert!(is_silent(name), "{name}");
        }
        for name in ["foo", "inflation", "gold medal", "année"] {
            assert!(!is_silent(name), "{name}");
        }
    }
}
