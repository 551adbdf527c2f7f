//! Names of languages, which templates that mark foreign words show: `{{langx|de|Köln}}` is "German: Köln".

use std::collections::HashMap;
use std::sync::LazyLock;

/// The English name of the language with this code (`de`, also `de-AT`, `zh-Hant`).
pub(super) fn english(code: &str) -> Option<&'static str> {
    find(code).map(|names| names.0)
}

/// Its own name, as `{{#language:de}}` shows it.
pub(super) fn own_name(code: &str) -> Option<&'static str> {
    find(code).map(|names| names.1)
}

/// How the Wikipedia of `wiki` introduces a word of the language with this code: "in inglese", "англ."
pub(super) fn introduced(wiki: &str, code: &str) -> Option<String> {
    let row = INTRODUCED.iter().find(|row| row.0 == wiki)?;
    let name = row.2.split_whitespace().find_map(|pair| pair.strip_prefix(code)?.strip_prefix('='))?;
    Some(format!("{}{}", row.1, name.replace('_', " ")))
}

fn find(code: &str) -> Option<(&'static str, &'static str)> {
    let code = code.trim().to_lowercase();
    let stem = code.split('-').next()?;
    NAMES.get(code.as_str()).or_else(|| NAMES.get(stem)).copied()
}

static NAMES: LazyLock<HashMap<&str, (&str, &str)>> = LazyLock::new(|| {
    let row = |row: &'static str| {
        let mut parts = row.trim().split('=');
        Some((parts.next()?, (parts.next()?, parts.next()?)))
    };
    ROWS.split('\n').flat_map(|line| line.split(',')).filter_map(row).collect()
});

/// Wikis, what stands before the name, and names in their form there.
const INTRODUCED: [(&str, &str, &str); 6] = [
    ("ru", "", "en=англ. de=нем. fr=фр. es=исп. it=итал. la=лат. ja=яп. zh=кит. ko=кор. ar=араб. he=ивр. uk=укр. be=белор. pl=польск. pt=порт. nl=нидерл. sv=швед. no=норв. da=дат. fi=фин. et=эст. lv=латыш. lt=лит. cs=чеш. sk=словацк. hu=венг. ro=рум. bg=болг. sr=серб. hr=хорв. el=греч. grc=др.-греч. tr=тур. fa=перс. hi=хинди hy=арм. ka=груз. az=азерб. kk=каз. uz=узб. tt=тат. ba=башк. mn=монг. sa=санскр. vi=вьетн. th=тайск. ca=кат. eo=эсп. yi=идиш is=исл. ga=ирл."),
    ("uk", "", "en=англ. de=нім. fr=фр. es=ісп. it=італ. la=лат. ja=яп. zh=кит. ru=рос. pl=пол. be=біл. pt=порт. nl=нід. sv=швед. cs=чеськ. sk=словац. hu=угор. ro=рум. bg=болг. sr=серб. el=грец. grc=дав.-гр. tr=тур. ar=араб. he=івр. fa=перс. hy=вірм. ka=груз. fi=фін. da=дан. no=норв. lt=лит. lv=латис. et=ест."),
    ("it", "in ", "en=inglese de=tedesco fr=francese es=spagnolo la=latino ja=giapponese zh=cinese ru=russo pt=portoghese nl=olandese pl=polacco el=greco grc=greco_antico ar=arabo he=ebraico tr=turco sv=svedese da=danese no=norvegese fi=finlandese hu=ungherese cs=ceco sk=slovacco sl=sloveno hr=croato sr=serbo ro=rumeno bg=bulgaro uk=ucraino ca=catalano ko=coreano fa=persiano hi=hindi sa=sanscrito"),
    ("es", "en ", "en=inglés de=alemán fr=francés it=italiano la=latín ja=japonés zh=chino ru=ruso pt=portugués nl=neerlandés pl=polaco el=griego grc=griego_antiguo ar=árabe he=hebreo tr=turco sv=sueco da=danés no=noruego fi=finés hu=húngaro cs=checo ro=rumano bg=búlgaro uk=ucraniano ca=catalán eu=euskera gl=gallego ko=coreano fa=persa hi=hindi sa=sánscrito"),
    ("pt", "em ", "en=inglês de=alemão fr=francês it=italiano la=latim ja=japonês zh=chinês ru=russo es=espanhol nl=neerlandês pl=polonês el=grego grc=grego_clássico ar=árabe he=hebraico tr=turco sv=sueco da=dinamarquês no=norueguês fi=finlandês hu=húngaro cs=checo ro=romeno bg=búlgaro uk=ucraniano ca=catalão ko=coreano fa=persa hi=hindi sa=sânscrito"),
    ("nl", "", "en=Engels de=Duits fr=Frans it=Italiaans la=Latijn ja=Japans zh=Chinees ru=Russisch es=Spaans pt=Portugees pl=Pools el=Grieks grc=Oudgrieks ar=Arabisch he=Hebreeuws tr=Turks sv=Zweeds da=Deens no=Noors fi=Fins hu=Hongaars cs=Tsjechisch ro=Roemeens bg=Bulgaars uk=Oekraïens fy=Fries"),
];

/// Codes, English names, own names.
const ROWS: &str = "
af=Afrikaans=Afrikaans,akk=Akkadian=Akkadian,am=Amharic=አማርኛ,an=Aragonese=aragonés,ang=Old English=Ænglisc,ar=Arabic=العربية
arc=Aramaic=ܐܪܡܝܐ,arz=Egyptian Arabic=مصرى,as=Assamese=অসমীয়া,ast=Asturian=asturianu,az=Azerbaijani=azərbaycanca
ba=Bashkir=башҡортса,bar=Bavarian=Boarisch,be=Belarusian=беларуская,bg=Bulgarian=български,bn=Bengali=বাংলা,bo=Tibetan=བོད་ཡིག
br=Breton=brezhoneg,bs=Bosnian=bosanski,ca=Catalan=català,ce=Chechen=нохчийн,ceb=Cebuano=Cebuano,chr=Cherokee=ᏣᎳᎩ
ckb=Central Kurdish=کوردی,co=Corsican=corsu,cop=Coptic=Coptic,cs=Czech=čeština,csb=Kashubian=kaszëbsczi,cv=Chuvash=чӑвашла
cy=Welsh=Cymraeg,da=Danish=dansk,de=German=Deutsch,egy=Egyptian=Egyptian,el=Greek=Ελληνικά,en=English=English
eo=Esperanto=Esperanto,es=Spanish=español,et=Estonian=eesti,eu=Basque=euskara,fa=Persian=فارسی,fi=Finnish=suomi,fil=Filipino=Filipino
fo=Faroese=føroyskt,fr=French=français,frp=Franco-Provençal=arpetan,fro=Old French=Old French,fur=Friulian=furlan
fy=West Frisian=Frysk,ga=Irish=Gaeilge,gd=Scottish Gaelic=Gàidhlig,gl=Galician=galego,got=Gothic=Gothic,grc=Ancient Greek=Ἑλληνική
gsw=Swiss German=Alemannisch,gu=Gujarati=ગુજરાતી,gv=Manx=Gaelg,ha=Hausa=Hausa,haw=Hawaiian=Hawaiʻi,he=Hebrew=עברית
hi=Hindi=हिन्दी,hr=Croatian=hrvatski,hsb=Upper Sorbian=hornjoserbsce,ht=Haitian Creole=Kreyòl ayisyen,hu=Hungarian=magyar
hy=Armenian=հայերեն,ia=Interlingua=interlingua,id=Indonesian=Bahasa Indonesia,ig=Igbo=Igbo,is=Icelandic=íslenska,it=Italian=italiano
iu=Inuktitut=ᐃᓄᒃᑎᑐᑦ,ja=Japanese=日本語,jv=Javanese=Jawa,ka=Georgian=ქართული,kk=Kazakh=қазақша,kl=Greenlandic=kalaallisut
km=Khmer=ភាសាខ្មែរ,kn=Kannada=ಕನ್ನಡ,ko=Korean=한국어,ku=Kurdish=kurdî,kw=Cornish=kernowek,ky=Kyrgyz=кыргызча,la=Latin=Latina
lb=Luxembourgish=Lëtzebuergesch,li=Limburgish=Limburgs,lij=Ligurian=Ligure,lmo=Lombard=lombard,lo=Lao=ລາວ,lt=Lithuanian=lietuvių
lv=Latvian=latviešu,mg=Malagasy=Malagasy,mi=Māori=Māori,mk=Macedonian=македонски,ml=Malayalam=മലയാളം,mn=Mongolian=монгол
mr=Marathi=मराठी,ms=Malay=Bahasa Melayu,mt=Maltese=Malti,my=Burmese=မြန်မာဘာသာ,nah=Nahuatl=Nāhuatl,nap=Neapolitan=Napulitano
nb=Norwegian Bokmål=norsk bokmål,nds=Low German=Plattdüütsch,ne=Nepali=नेपाली,nl=Dutch=Nederlands,nn=Norwegian Nynorsk=norsk nynorsk
no=Norwegian=norsk,non=Old Norse=Old Norse,nv=Navajo=Diné bizaad,oc=Occitan=occitan,or=Odia=ଓଡ଼ିଆ,os=Ossetian=ирон
ota=Ottoman Turkish=Ottoman Turkish,pa=Punjabi=ਪੰਜਾਬੀ,peo=Old Persian=Old Persian,pl=Polish=polski,pms=Piedmontese=Piemontèis
ps=Pashto=پښتو,pt=Portuguese=português,qu=Quechua=Runa Simi,rm=Romansh=rumantsch,ro=Romanian=română,ru=Russian=русский
sa=Sanskrit=संस्कृतम्,sc=Sardinian=sardu,scn=Sicilian=sicilianu,sco=Scots=Scots,sd=Sindhi=سنڌي,se=Northern Sami=davvisámegiella
sh=Serbo-Croatian=srpskohrvatski,si=Sinhala=සිංහල,sk=Slovak=slovenčina,sl=Slovene=slovenščina,sm=Samoan=Gagana Samoa
so=Somali=Soomaaliga,sq=Albanian=shqip,sr=Serbian=српски,su=Sundanese=Sunda,sux=Sumerian=Sumerian,sv=Swedish=svenska
sw=Swahili=Kiswahili,syc=Classical Syriac=Classical Syriac,szl=Silesian=ślůnski,ta=Tamil=தமிழ்,te=Telugu=తెలుగు,tg=Tajik=тоҷикӣ
th=Thai=ไทย,ti=Tigrinya=ትግርኛ,tk=Turkmen=türkmençe,tl=Tagalog=Tagalog,tr=Turkish=Türkçe,tt=Tatar=татарча,ug=Uyghur=ئۇيغۇرچە
uk=Ukrainian=українська,ur=Urdu=اردو,uz=Uzbek=oʻzbekcha,vec=Venetian=vèneto,vi=Vietnamese=Tiếng Việt,wa=Walloon=walon
wo=Wolof=Wolof,xh=Xhosa=isiXhosa,yi=Yiddish=ייִדיש,yo=Yoruba=Yorùbá,yue=Cantonese=粵語,zh=Chinese=中文,zu=Zulu=isiZulu
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_names() {
        assert_eq!((english("de"), english("de-AT"), english("zu")), (Some("German"), Some("German"), Some("Zulu")));
        assert_eq!((own_name("yue"), english("xx")), (Some("粵語"), None));
        assert_eq!(introduced("it", "grc").as_deref(), Some("in greco antico"));
        assert_eq!(introduced("en", "de"), None);
    }
}
