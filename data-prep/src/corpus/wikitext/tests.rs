//! Each construct, with what MediaWiki's documentation (Help:Formatting, Help:Links, Help:Tables, Help:Templates) says it shows.

use super::*;
use proptest::prelude::*;

mod templates;

fn check(cases: &[(&str, &str)]) {
    for (wikitext, expected) in cases {
        assert_eq!(clean(wikitext), *expected, "{wikitext:?}");
    }
}

#[test]
fn paragraphs_and_lines() {
    check(&[
        ("", ""),
        ("  \n\n ", ""),
        ("one\ntwo\n\nthree", "one two\nthree"),
        ("one\r\ntwo\r\n\r\nthree", "one two\nthree"),
        ("one\n----\ntwo\n-----three", "one\ntwo\nthree"),
        ("one\n\n!\n\ntwo", "one\ntwo"),
        ("a  b\tc\u{a0}d", "a b c d"),
        (" preformatted\n lines", "preformatted\nlines"),
    ]);
}

fn clean_as(wikitext: &str, headings: bool, list_items: ListItems) -> String {
    let options = CleanOptions { headings, list_items, ..CleanOptions::default() };
    clean_page("", wikitext, &Wiki::default(), &options).text
}

#[test]
fn headings_go() {
    check(&[
        ("lead\n== Head ==\nbody", "lead\nbody"),
        ("======Deep======\nbody", "body"),
        ("== ''A'' [[b]] ==<!-- c -->\nbody", "body"),
        ("== A == {{anchor|x}}\nbody", "body"),
        ("1 + 1 = 2", "1 + 1 = 2"),
        ("=", ""),
    ]);
}

#[test]
fn headings_are_paragraphs_where_asked() {
    for (wikitext, expected) in [
        ("lead\n== Head ==\nbody", "lead\nHead\nbody"),
        ("=== ''A'' [[b|c]] {{d}} ===<!-- c -->\nbody", "A c\nbody"),
        // a heading stays with what follows it, under the headings above it
        ("== A ==\n=== B ===\nb\n=== C ===\nc", "A\nB\nb\nC\nc"),
        ("== A ==\n=== B ===\n== C ==\nc", "C\nc"),
        ("== See also ==\n* [[X]]\n== Notes ==\n{{reflist}}\n!!\n[[Category:C]]", ""),
        ("lead\n== == ==\nbody\n===\nmore", "lead\nbody\nmore"),
        ("lead\n=== Uneven ==\nbody", "lead\n= Uneven\nbody"),
    ] {
        assert_eq!(clean_as(wikitext, true, ListItems::Prose), expected, "{wikitext:?}");
    }
}

#[test]
fn list_items_are_lines() {
    for (wikitext, expected) in [
        ("* one\n** two\n# three\n#* four", "one\ntwo\nthree\nfour"),
        ("text\n* one\ntext", "text\none\ntext"),
        (": indented\n:: more", "indented\nmore"),
        ("; term : definition", "term : definition"),
        ("* {{flag}}\n* two", "two"),
        ("* [http://x.org Title] – about it", "Title – about it"),
        ("* {{cite}} – about it", "about it"),
        ("* [[a|b]]s, [[c]], [x], [http://x.org], [[d", "bs, c, [x], d"),
        ("a * b # c", "a * b # c"),
    ] {
        assert_eq!(clean_as(wikitext, false, ListItems::All), expected, "{wikitext:?}");
    }
}

#[test]
fn list_items_that_are_prose_stay() {
    check(&[
        (
            "* This is a sentence.\n* \"Is it one?\" (Yes!)\n# Four words and colon:",
            "This is a sentence.\n\"Is it one?\" (Yes!)\nFour words and colon:",
        ),
        ("* Not this one\n* Nor this.\n: E = mc.", ""),
        ("* a b c d e f g h i j k l\n* a b c d e f g h i j k", "a b c d e f g h i j k l"),
        // words, not the punctuation between them
        ("* a – b – c – d – e – f – g", ""),
        ("* The [[capital]] of [[France]] is [[Paris]], as all know.", "The capital of France is Paris, as all know."),
    ]);
}

#[test]
fn lists_of_links_go() {
    check(&[
        ("* [[Alpha|a b c]], [[d e f]], [[g h i]], [[j k l]] and [[m n o]]", ""),
        ("* [http://x.org The site of the whole thing.]", ""),
        ("* [[A|{{nowrap|The link of}} ''all'']].", ""),
        // the same outside of a list is text
        ("[[The link of all]].", "The link of all."),
    ]);
}

#[test]
fn bold_and_italics() {
    check(&[
        ("'''bold''', ''italic'', '''''both'''''", "bold, italic, both"),
        ("it's the dogs' 'own'", "it's the dogs' 'own'"),
        ("''''four''''", "'four'"),
        ("''''''six''''''", "'six'"),
        ("l'''amour''", "l'amour"),
        ("''unclosed\nnext", "unclosed next"),
    ]);
}

#[test]
fn templates_go_however_nested() {
    check(&[
        ("a {{b}} c", "a c"),
        ("a {{b|{{c|[[d]]}}\n|e}} f", "a f"),
        ("{{{1|default}}} x {{{2}}}y", "default x y"),
        ("{{{{{1}}}|x}} y", "y"),
        ("{{Infobox\n| a = b\n}}\n'''A''' is.", "A is."),
        ("one\n{{refimprove|x}}\ntwo", "one\ntwo"),
        ("{not a template} and {", "{not a template} and {"),
        ("}} stray {{ unclosed", "stray unclosed"),
    ]);
}

#[test]
fn unclosed_markup_does_not_swallow_the_article() {
    check(&[
        (
            "{{Infobox\n| name = {{b}}\n| x = y\n\nThe article.\n\nMore {{c}} of it.",
            "Infobox\nThe article.\nMore of it.",
        ),
        ("{| class=x\n|-\n! head\n| cell\n\nThe article.\n\nMore.", "The article.\nMore."),
        ("{| class=x\n| cell\n== Head ==\nThe article.", "The article."),
        ("See [[the link\n\nThe [[article]].", "See the link\nThe article."),
        ("[[File:a.jpg|thumb|A caption\n\nThe article.", "The article."),
        ("[[File:a.jpg|thumb|A caption\n== Head ==\nThe article.", "The article."),
        ("A<ref>note. The article.\n\nMore.", "Anote. The article.\nMore."),
        ("A<ref name=x>. The article<ref>note</ref>.", "A. The article."),
        ("A <!-- comment\nThe article.", "A The article."),
        ("A <math>x^2 article.", "A x^2 article."),
        ("<nowiki>The [[article]].", "The article."),
        ("<table><tr><td>cell\n\nThe article.", "cell\nThe article."),
        ("A <div class=x\n\nThe article.", "A class=x\nThe article."),
        ("A [http://x.org the link\nThe article.", "A the link The article."),
    ]);
}

#[test]
fn tables_go_however_nested() {
    check(&[
        ("a\n{| class=\"wikitable\"\n! h\n|-\n| b || c\n|}\nd", "a\nd"),
        ("{|\n|\n{|\n| inner\n|}\n| outer\n|}\nafter", "after"),
        (":{|\n| x\n\nparagraph in a cell\n|}after", "after"),
        ("a <table><tr><td><table><tr><td>b</td></tr></table></td></tr></table> c", "a\nc"),
        ("a\n|}\nb", "a\nb"),
        ("a\n| leftover = row\nb", "a\nb"),
    ]);
}

#[test]
fn internal_links_leave_what_they_show() {
    check(&[
        ("[[A]]", "A"),
        ("[[A|b]]", "b"),
        ("[[bus]]es and [[bus|coach]]es", "buses and coaches"),
        ("[[A#Part|b c]]", "b c"),
        ("[[A|''b'' {{c}}<sub>d</sub>]]", "b d"),
        ("[[A|b|c]]", "b|c"),
        ("[[A\nb]] c", "A b c"),
        ("[[A|b\nc]]", "b c"),
        ("[[:Category:Cats]]", "Category:Cats"),
        ("[[:File:a.jpg|the picture]]", "the picture"),
        ("[[wikt:word|word]]s, [[s:Text]]", "words, s:Text"),
        ("[[It: Chapter Two]]", "It: Chapter Two"),
        ("[[[A]]]", "[A]"),
        ("[[A|[b]]]", "[b]"),
        ("[[A [[B|c]] d]]", "A c d"),
        ("[[A (x)|]], [[Help:A|]], [[A, B|]], [[Help:A (x), B|]]", "A, A, A, A (x)"),
        ("a]] [[b ]]]] c", "a b c"),
        ("[sic] and a[i] = [b[j]]", "[sic] and a[i] = [b[j]]"),
    ]);
}

#[test]
fn files_categories_and_language_links_go() {
    check(&[
        ("[[File:a.jpg|thumb|A [[b|c]] and [http://d e] {{f}}]]Text.", "Text."),
        ("[[Image:a.jpg|thumb|x [[File:b.png]] y]] Text.", "Text."),
        ("[[ file : a.jpg ]]Text.", "Text."),
        ("[[Media:a.ogg|listen]] Text.", "Text."),
        ("Text.\n[[Category:A]]\n[[category:B|*]]\n[[fr:A]]\n[[zh-min-nan:A]]", "Text."),
        ("[[File:a.jpg|x]]]] Text.", "Text."),
    ]);
}

#[test]
fn wikis_have_their_own_names() {
    let mut wiki = Wiki::default();
    wiki.hidden.add("Catégorie");
    wiki.hidden.add("");
    assert_eq!(
        clean_page("", "A [[catégorie:B]][[CATÉGORIE:C]][[Category:D]] [[x:e]]", &wiki, &CleanOptions::default()).text,
        "A x:e"
    );
}

#[test]
fn external_links_leave_their_text() {
    check(&[
        ("[http://x.org the site]", "the site"),
        ("[https://x.org/a_(b)?c=d|e ''the'' [[site]]] x", "the site x"),
        ("see [http://x.org], [//x.org] or [mailto:a@b.c mail]", "see, or mail"),
        ("[[http://x.org the site]]", "[the site]"),
        ("see http://x.org", "see http://x.org"),
        ("[{{url}} the site]", "the site"),
    ]);
}

#[test]
fn references_and_extension_tags_go_with_their_content() {
    check(&[
        ("A<ref>note</ref>. B<ref name=\"x\" />, C<REF group=a>{{cite}}</REF >.", "A. B, C."),
        ("A <ref name=x>a</ref name=x> b</ref> c.", "A c."),
        ("A<references><ref>x</ref></references> b", "A b"),
        ("A <math>\\frac{1}{{2}}</math> <source lang=c>if (a[[0]])</source> b", "A b"),
        ("A\n<gallery>\nFile:a.jpg|b\n</gallery>\nc <timeline>x</timeline> <score>y</score>", "A\nc"),
        ("<syntaxhighlight>x</syntaxhighlight><imagemap>y</imagemap><includeonly>z</includeonly>a", "a"),
    ]);
}

#[test]
fn literal_text_stays_literal() {
    check(&[
        ("<nowiki>[[a]] {{b}} ''c'' &amp; <ref> __TOC__ ~~~~</nowiki>", "[[a]] {{b}} ''c'' & <ref> __TOC__ ~~~~"),
        ("<nowiki>* no list</nowiki>", "* no list"),
        ("a''<nowiki/>'b''", "a'b"),
        ("x <pre>a [[b]]\n  c</pre> y", "x\na [[b]]\nc\ny"),
        ("{{a|<nowiki>}}</nowiki>}}b", "b"),
    ]);
}

#[test]
fn comments_go() {
    check(&[
        ("a<!-- b\n\nc -->d", "ad"),
        ("a\n<!-- b -->\nc", "a c"),
        ("a\n <!-- b --> \n\nc", "a\nc"),
        ("[[a<!-- x -->|b<!-- ]] -->]]", "b"),
        ("<!-- one --><!-- two -->\na <!----> b", "a b"),
    ]);
}

#[test]
fn html_tags_go_and_entities_decode() {
    check(&[
        ("H<sub>2</sub>O, m<sup class=\"x\">2</sup>, <span style='a'>b</span>", "H2O, m2, b"),
        ("a<br>b<br />c", "a b c"),
        ("a<div>b</div>c<p>d", "a\nb\nc\nd"),
        ("<blockquote>a\nb</blockquote>", "a b"),
        ("1 < 2 <b and </b>3 > 2, <unknown>x</unknown>", "1 < 2 and 3 > 2, <unknown>x</unknown>"),
        ("a&nbsp;b &amp; c&ndash;d &#x41;&#66; &lt;b&gt; &bogus; &amp;lt; AT&T;", "a b & c–d AB <b> &bogus; < AT&T;"),
        ("<poem>\nRoses are\nred.\n</poem>\nThe <code>for</code> loop", "Roses are red.\nThe for loop"),
        ("soft&shy;hyphen\u{200b}s", "softhyphens"),
    ]);
}

#[test]
fn switches_and_signatures_go() {
    check(&[
        ("__NOTOC__\ntext __init__ __TOC__ end", "text __init__ end"),
        ("I agree. ~~~~", "I agree."),
        ("~5 or ~~5", "~5 or ~~5"),
    ]);
}

#[test]
fn holes_are_tidied() {
    check(&[
        ("'''Foo''' ({{IPAc-en|x}}; born 1970) is", "Foo (born 1970) is"),
        ("Foo ({{a}}, {{b}}) is", "Foo is"),
        ("Foo (bar, {{a}}), is", "Foo (bar), is"),
        ("Foo {{a}}, {{b}}, and {{c}}.", "Foo, and."),
        ("Foo ( {{a}} bar {{b}} ) is {{c}} .", "Foo (bar) is."),
        ("said \"{{a}}\" and “{{b}}” to", "said and to"),
        ("{{a}}, Foo", "Foo"),
        // what the author wrote stays
        ("f() and ( ) , or «\u{a0}x\u{a0}» ; oui !", "f() and ( ) , or « x » ; oui !"),
    ]);
}

/// Text in which every construct is open, closed, nested or broken somewhere.
const HOSTILE: [&str; 43] = [
    "{{nowrap|",
    "{{quote|",
    "{{!}}",
    "\n* ",
    "&amp;",
    "{{",
    "}}",
    "{{{",
    "}}}",
    "[[",
    "]]",
    "[",
    "]",
    "|",
    "{|",
    "|}",
    "\n{|",
    "\n|}\n",
    "<ref>",
    "</ref>",
    "<ref/>",
    "<!--",
    "-->",
    "<nowiki>",
    "</nowiki>",
    "<table>",
    "</table>",
    "<math>",
    "<div ",
    "[[File:",
    "[http://a ",
    "''",
    "'''''",
    "\n",
    "\n\n",
    "\n== ",
    "&#91;&amp;",
    "__TOC__",
    "~~~~",
    "é",
    "\u{1}\u{2}",
    " (",
    ", ) ",
];

#[test]
fn deep_nesting_and_unclosed_markup_are_fine() {
    const DEPTH: usize = 100_000;
    for (open, close) in [
        ("{{a|", "}}"),
        ("{{nowrap|", "}}"),
        ("* {{c.|[[", "]]}}"),
        ("{{{", "}}}"),
        ("[[a|", "]]"),
        ("[[File:a|", "]]"),
        ("[", "]"),
        ("[http://a ", "]"),
        ("\n{|\n|", "\n|}"),
        ("<table>", "</table>"),
        ("<div>", "</div>"),
        ("<ref>", "</ref>"),
        ("<math>", "</math>"),
        ("<!--", "-->"),
        ("''", "''"),
    ] {
        for text in [open.repeat(DEPTH) + "x" + &close.repeat(DEPTH), open.repeat(DEPTH), close.repeat(DEPTH)] {
            assert!(clean(&text).len() <= text.len(), "{open:?}");
        }
    }
}

/// Quadratic work on these megabytes would take minutes.
#[test]
fn hostile_text_takes_linear_time() {
    const REPEATS: usize = 200_000;
    let mixed = [
        "<ref ",
        "<!---->",
        "[[a",
        "[[a|[[",
        "[ [[b]] ",
        "{{a}",
        "}}{{{",
        "''a'''",
        "&#9",
        "<b",
        "( {{a}} , ",
        " \n",
        "~~~x",
    ];
    for pattern in HOSTILE.iter().chain(&mixed) {
        let text = " ".repeat(REPEATS) + &pattern.repeat(REPEATS);
        assert!(clean(&text).len() <= text.len());
    }
}

fn has_residue(text: &str) -> bool {
    ["{{", "}}", "[[", "{|", "|}", "\u{1}", "\u{2}"].iter().any(|mark| text.contains(mark))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_text_cleans(text in any::<String>()) {
        clean_as(&text, true, ListItems::All);
        clean(&text);
    }

    #[test]
    fn broken_markup_leaves_no_residue(parts in prop::collection::vec(
        prop_oneof![prop::sample::select(HOSTILE.to_vec()).prop_map(String::from), "[a-c .,]{0,4}"], 0..40))
    {
        let text = parts.concat();
        let prose = clean_as(&text, true, ListItems::All);
        // entities and literal text may spell markup out
        if !text.contains("&#") && !text.contains("<nowiki>") {
            prop_assert!(!has_residue(&prose), "{text:?} leaves {prose:?}");
        }
        for line in prose.split('\n') {
            prop_assert!(prose.is_empty() || line == line.trim() && !line.is_empty(), "{text:?} leaves {prose:?}");
            prop_assert!(!line.contains("  "), "{text:?} leaves {prose:?}");
        }
    }
}
