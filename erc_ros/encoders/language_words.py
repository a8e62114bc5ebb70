"""Frequent words of spoken languages, with which `language` distinguishes them.

Written for this project: pronouns, articles, auxiliary verbs, conjunctions, and common phrases.
Languages are BCP-47 primary subtags. A word may be in several lists; a word that is also in a
language of the model package is not evidence against a text.
"""

from __future__ import annotations

_EN = """
a about after again ago ah ain't all almost alone along already alright also always am amazing an
and another any anybody anymore anyone anything anyway are aren't around as ask asked at away
awesome baby back bad be beautiful because become been before being believe best better between
big bit both boy bring brother but buy by bye call called came can can't cannot care change check
child children close come comes coming cool could couldn't course crazy dad dance date daughter
day days dead deal dear did didn't different dinner do does doesn't dog doing don't done door down
drink drive drop during each early easy eat eight either else end enough even ever every everybody
everyone everything exactly except excuse eye eyes face fact family far fast father feel feeling
feels few fight find fine first five for forever forget forgot found four friend friends from
front fun funny gave get gets getting girl girls give giving go god goes going gone gonna good
goodbye got gotta great guess guy guys had hair half hand hands happen happened happy hard has
hasn't hate have haven't having he he'd he'll he's head hear heard heart hell hello help her here
here's hers herself hey hi him himself his hit hold home honey hope hospital hot hour hours house
how how's however huh hurt husband i i'd i'll i'm i've idea if important in inside instead
interested into is isn't it it'd it'll it's its itself job just keep kid kidding kids kill kind
kiss knew know known knows last late later laugh leave left less let let's life light like liked
likes line little live lived living long look looked looking looks lose lost lot love loved loves
lunch mad made make makes making man many married marry matter may maybe me mean means meant meet
men mind mine minute miss mom moment money month months more morning most mother mouth move movie
mr mrs much must my myself name need needs never new next nice night nine no nobody none nope not
nothing now number of off oh ok okay old on once one only open or other others our ours out
outside over own pants paper parents part party pay people perfect person phone pick pizza place
plan play please point present pretty probably problem put question quite read ready real really
reason red remember right room run sad said same saw say saying says school scared second see seem
seems seen send set seven sex she she'd she'll she's shoes should shouldn't show shut sick side
sir sister sit six sleep small so some somebody someone something sometimes somewhere son soon
sorry sort sound sounds speak stand start started stay still stop story stuff stupid such sure
surprise sweet sweetie take takes taking talk talking tell telling ten terrible than thank thanks
that that'd that'll that's the their them then there there's these they they'd they'll they're
they've thing things think thinking thinks this those thought three through time times tired to
today together told tomorrow tonight too took top totally touch town trip trouble true trust truth
try trying turn twenty two type uh um under understand until up upset us use used usually very
wait waiting wake walk wanna want wanted wants was wasn't watch water way we we'd we'll we're
we've wear wedding week weeks weird well went were weren't what what's whatever when where where's
which while who who's whoa whole why wife will wish with without woman women won't wonderful word
words work worked working works world worry worse would wouldn't wow write wrong yeah year years
yep yes yesterday yet you you'd you'll you're you've young your yours yourself dont im ive id ill
cant wont didnt doesnt isnt thats whats youre theyre its lets wasnt couldnt wouldnt shouldnt
havent hasnt arent hows wheres heres theres weve were gimme lemme kinda sorta outta dunno cause
"""

_DE = """
aber alle allein alles als also am an auch auf aus bei beim bin bis bist bitte brauche da damit
danke dann das dass dein deine deinem deinen deiner dem den denn der des deshalb dich die dies
diese diesem dieser dieses dir doch dort du durch ein eine einem einen einer eines einfach er es
etwas euch euer fertig freue freut für ganz gar gefällt gegen gehe gehen geht gemacht genau genug
gern gerne gesagt gesehen gestern gib glaube glaubst glücklich gut gute guten habe haben habt
hallo hast hat hatte heute hier ich ihm ihn ihnen ihr ihre ihrem ihren im immer in ist ja jeder
jemand jetzt kann kannst kein keine keinen komm komme kommt können könnte lass lassen leid liebe
lieber los mach mache machen macht machst man mehr mein meine meinem meinen meiner mich mir mit
morgen muss musst müssen nach nacht nein nicht nichts nie niemand noch nun nur ob oder ohne
schlecht schon schön schöne schrecklich sehe sehr sei sein seine seinem seinen seit sich sie
siehst sind so solche soll sollte sondern sonst tag tun tut über um und uns unser unsere unter
viel viele vielleicht vom von vor wann war waren warum was weg weil weiß weißt welche wenig wenn
wer werde werden wie wieder wieso will willst wir wird wirklich wo wollen wollte wurde würde
wütend zeit ziemlich zu zum zur zurück zusammen zwei traurig müde angst
"""

_FR = """
ai aime aller alors après arrête as attends au aujourd'hui aussi autre aux avait avec avez avoir
avons beaucoup bien bon bonjour bonne bonsoir c'est c'était ça car ce cela ces cet cette chaque
chez chose comme comment content contente contre d'accord dans de déjà demain depuis des deux dire
dis dit dois doit donc dont du elle elles en encore entre es est et étais était être eu eux fais
fait faire faut fois génial grand hier ici il ils j'ai j'aime j'avais j'étais jamais je jour
jusque juste l'ai la là laisse le les leur leurs lui ma maintenant mais mal maman me même mes
merci mieux moi moins mon monde n'a n'ai n'est ne non nos notre nous nouveau on ont ou où oui papa
par parce parle parler pas pendant penser personne petit petite peu peur peut peux plus point pour
pourquoi pouvez prendre presque près puis qu'elle qu'est qu'il qu'on quand que quel quelle
quelqu'un quelque qui quoi rien s'est s'il sa sais sait sans se ses si soir sois sommes son sont
sous souvent suis sur t'ai t'aime ta tard te tellement temps tes toi ton tous tout toute toutes
toujours très triste trop tu un une va vais vas venir vers veut veux viens vient voilà voir vois
vont vos votre voudrais vous vraiment vu y colère heureux heureuse peux-tu
"""

_ES = """
a adiós ahora al algo alguien algún alguna allí amigo amiga amor ante antes aquel aquí así aún
aunque ayer ayuda bastante bien bueno buena buenas buenos cada cansada cansado casa casi cómo como
con conmigo contento contigo creo cual cuál cuando cuándo cuánto cosa cosas da dame de debe decir
del demasiado desde después di día días dice dijo dios donde dónde dos él el ella ellas ellos en
enfadado entonces entre era eran eres es esa ese eso esos esta está estaba estado están estar
estas estás este esto estos estoy estuvo favor feliz fue fuera gracias gran grande gusta ha haber
había hablar hace hacer haciendo hago han has hasta hay he hecho hice hijo hizo hola hombre hora
hoy iba ir jamás junto la las le les llama lo los luego mal mañana más mal me mejor menos mi mí
miedo mientras mío mira mis mismo momento mucha muchas mucho muchos mujer muy nada nadie ni ningún
ninguna no noche nos nosotros nuestra nuestro nunca o otra otro otros para parece pasa pasado pasó
peor pero perdón poco podemos poder podría por porque por qué pronto puede puedes puedo pues que
qué quién quien quiere quieres quiero razón sabe saber sabes sé se sea según señor ser si sí
siempre siento sin sobre sois sólo solo somos son soy su sus tal también tampoco tan tanto te
tenemos tener tengo tenía ti tiempo tiene tienes toda todas todavía todo todos trabajo tres triste
tu tú un una unas unos usted va vamos van vas veces ven ver verdad vez vida viene voy y ya yo
"""

_IT = """
a abbiamo adesso ai al alla alle allora altra altro amico amore anche ancora anni appena
arrabbiata arrabbiato avanti avere aveva avete bella bello bene bravo brutto buona buonasera
buongiorno buono c'è c'era casa caso che chi ciao ci cinque ciò come con contento cosa cose così
credo cui da dai dal dalla davvero de degli dei del della delle devi devo di dice dico dire disse
dispiace dobbiamo domani donna dopo dormire dove due dunque è e ecco ed egli era erano eri ero
essere fa fai fare fatto felice fino forse fra fu fuori gente già giorno gli grande grazie guarda
ha hai hanno ho i ieri il in insieme io l'ho la lascia lavoro le lei li lì lo loro lui ma mai male
mamma me meglio meno mentre mi mia mie miei mio molta molte molto momento mondo nei nel nella
nessuno niente noi no non nostra nostro notte nulla o ogni oggi ora paura per perché però più
piace piacere poco poi posso possiamo possono prego prima proprio può puoi qua qual qualche
qualcosa qualcuno quale quando quanto quasi quella quelle quelli quello questa queste questi
questo qui scusa scusi se sei sempre senti sento senza si sì sia siamo siete signore solo sono
sopra sotto spero sta stai stanno stare stata stato stavo stesso sto su sua subito sul sulla suo
suoi tanta tanto te tempo ti tra triste troppo tu tua tuo tuoi tutta tutte tutti tutto un una uno
uomo va vado vai vedere vedi veramente vero via vi viene vita voglio voi volta vorrei vostro vuoi
vuole stanco stanca
"""

_NL = """
aan al alle alleen allemaal alles als altijd anders bang beetje begrijp ben bent beter bij bijna
blij boos daar daarom dan dank dankjewel dat de deze denk denkt die dingen dit doe doen doet dood
door draag dus echt een eens eerst eigenlijk elkaar en er erg even gaan gaat ga gedaan geef geen
gek geld geloof geluk gelukkig gemaakt genoeg geweest geweldig gewoon gezegd gezien gisteren goed
goede graag groot haar had hallo hard heb hebben hebt heeft heel heen hem hen het hier hij hoe hoi
hoop houd hou hun iemand iets ik in is ja jaar je jij jou jouw jullie kan kijk kijken klaar kom
komen komt kon kunnen kunt kwam laat lang laten leuk leven liefde maar maak maken man me meer
meneer mensen met mevrouw mij mijn misschien moet moeten moest mooi morgen na naar nacht
natuurlijk nee neem net niemand niet niets nieuwe nog nooit nou nu of om omdat ons onze ook op
over praten precies samen sinds snel soms sorry spreek steeds straks te tegen ten terug thuis tijd
toch toen tot tussen uit uur vaak van vanavond vandaag veel vind vindt voel voelt voor vraag vrouw
waar waarom wacht want waren was wat week weer weet weg wel welke werd werk werken weten wie wij
wil willen wist worden word wordt wou zal ze zeg zeggen zei zeer zelf zich zie zien zij zijn zit
zo zou zoals zonder zullen verdrietig moe verdomme ontzettend
"""

_PT = """
a acho agora ah aí ainda além algo alguém algum alguma ali amanhã amigo amor ano anos antes ao aos
aquela aquele aqui as às assim até bem boa bom cada cara casa certo chegou coisa coisas com como
comigo contigo da dar das de deixa dela dele deles demais depois desculpa desde dessa desse desta
deste deus deve dia dias diz dizer do dois dos e é ela elas ele eles em embora então entre era
eram essa esse esses esta está estão estar estava este estou eu faça falar faz fazer feliz ficar
ficou fim foi foram fora fosse fui gente gosta gosto grande há havia hoje homem hora isso isto já
lá lhe lo logo longe lugar mais mal mãe mas me medo melhor menos mesmo meu meus mim minha minhas
momento mulher mundo muita muito muitos na nada não nas nem nenhum nessa nesse nesta ninguém no
noite nome nos nós nossa nosso num numa nunca o obrigada obrigado olá olha onde ontem os ou outra
outro pai para parece pela pelo pensar pessoa pessoas pode podem podemos poder podia por porque
porquê posso pouco pra precisa preciso pronto própria quais qual qualquer quando quanto quase que
quê quem quer quero raiva saber sabe são se sei seja sem sempre sendo senhor senhora ser será seu
seus sim sinto só sobre somos sou sua suas também talvez tanto tão tarde te tem têm temos tempo
tenho ter teu tinha tive tu tua tudo um uma umas uns vai vamos vão veio vem ver verdade vez vezes
vida você vocês volta vou cansado cansada triste incrível
"""

_TR = """
acaba adam ama anda anne artık asla aslında ayrıca az bana baba bazen bazı belki ben bence benden
beni benim beş bile bilmiyorum bilir biliyor biliyorum bin bir biraz biri birkaç birlikte biz bize
bizi bizim böyle bu bugün buna bunda bundan bunlar bunu bunun burada buraya bütün çok çocuk çünkü
da daha dahi de değil dedi değilim demek diye doğru dün eğer en et etme etti ev eve evet fakat
gece geç gel geldi geldim geliyor gene gerçekten gibi git gitti gidiyor gördüm göre gün güzel hadi
hâlâ hayat hayır hem hemen hep hepsi her herkes hiç hoş iç için içinde iki ile ilk ise istiyor
istiyorum istemiyorum iş işte iyi iyiyim kadar kadın kaç kendi kez kim kimse ki kötü lazım lütfen
merhaba mı mi mu mü mutlu nasıl nasılsın ne neden nerede nereye niçin niye o olan olarak oldu
olduğu olduğunu olmak olmaz olsun olur on ona ondan onlar onu onun orada öyle özür para peki saat
sadece sana şey şeyi sen senden seni senin seviyorum şimdi siz size sizi sizin sonra şöyle şu
tamam tek teşekkür ederim teşekkürler tüm üç üzgün üzgünüm var vardı ve veya ya yani yap yapıyor
yapma yarın yeni yine yok yoksa zaman zaten kızgın korkuyorum yorgun harika yapıyorsun
"""

_SV = """
alla allt andra att av bara bättre blev bli blir borde bra bror där därför det detta dig din dina
ditt du efter eller en ett faktiskt för förlåt från får fick finns fortfarande gå går gång glad
gör göra gick ha hade haft han har hej hela henne här hit honom hon hos hur i idag igen imorgon in
ingen inget ingenting inte jag ja just kan kanske kommer kom kunde lite ledsen man många med men
mer mig min mina mitt mot mycket måste nej ni nog något någon nu när och också oj om oss på rädd
rätt sade sa samma se sedan sen sig sin sina sitt ska skulle snälla som så säger tack till trodde
tror trött tycker under upp ut vad var vara varför varit vem verkligen vet vi vid vill visst är
älskar än ännu även över arg
"""

_DA = """
af aldrig alt alle at bare blev bliver da de deres det dig din dine dit du efter eller en end er
et faktisk far fordi for fra fik få får gang glad god godt gør gøre går gå ham han har hej hele
hende her hos hun hvad hvem hvis hvor hvordan hvorfor ikke igen ind ingen ingenting ja jeg jer jo
kan kom kommer kunne lide lige lidt man mange med meget men mere mig min mine mit må måske nej
nogen noget nok nu når og også om op os på rigtig sagde se selv sig sin skal skulle som synes så
tak tid til tror træt ud under undskyld være var ved vi vil ville vores været ked
"""

_NO = """
alle alt alltid at av bare ble bli blir bra da de deg den denne der dere det dette din du eller en
er et etter fordi for fra få får gikk gjør gjøre glad godt går gå ha hadde han har hei henne her
hjem hun hva hvem hvis hvor hvordan hvorfor igjen ikke ingen ingenting inn ja jeg kan kanskje kom
kommer kunne lei litt man mange med meg meget men mer mye min mitt må nei noe noen nok nå når og
også om opp oss over på redd sa se seg selv si sin skal skulle snakke som så takk til trenger tror
trøtt unnskyld ut var ved vel veldig vet vi vil ville være vært å
"""

_PL = """
ale albo ani bardzo bez bo boję być był była było byłem będę będzie chcę chce chcesz chyba ci cię
ciebie co coś czego czekaj czemu czy dla dlaczego do dobra dobry dobrze dziękuję dzień dziś
dzisiaj go gdy gdzie ich ile im i inny ja jak jaki jest jesteś jestem jesteśmy jeszcze jeśli jego
jej już każdy kiedy kocham kto która który ktoś lubię ma mam masz mi mną mnie mogę może możesz
można mój moja moje mu musi musisz muszę my na nad nas nasz nawet nic nie nich nigdy nikt nim niż
no o od oni on ona ono oraz po pod poza prawda proszę przed przepraszam przez przy sam są się
siebie skąd smutny tak tam te tego tej ten teraz też to tobą tobie trochę tu tutaj twój twoja ty
tyle tylko tym u w wiem wiesz więc wszystko wy z za zawsze ze zły źle że żeby
"""

_CS = """
ale ani asi až bude budu by byl byla bylo být co což chci chceš dnes do dobrý dobře děkuji děláš
já jak jako je jeho její jen jenom ještě jestli ji jsem jsi jsme jsou jste k kde kdo když který
kterou líto mám máš má mě měl mi miluju mne může můžu můj mu musí musím my na naše ne nebo nechci
nejsem není než nic nikdo nikdy nevím no o od on ona oni opravdu po pořád prosím proč protože pro
před přece přes při rád s se si smutný svůj ta tady tak také takže tam tě teď ten tento to tohle
toho tom trochu tvůj ty u už v vám vás ve velmi ví víš vím vy vždy všechno z za zase ze že zlobím
"""

_FI = """
anteeksi ehkä ei eikä eikö emme en ennen et hän hänen he hei hyvin hyvä ihan iloinen ja jo joka
jos jotain kaikki kanssa kiitos koska kuin kuinka kun kuka kyllä mikä mikään miksi millainen minä
minua minulla minulle minun missä mitä mitään mutta myös ne niin niitä nyt olen olet oli olin olla
olemme on onko paljon pelkään pitää sano se sen siellä sinä sinua sinulla sinun sitä siis
surullinen tai tämä tämän tänään tiedä tiedän tulee väsynyt vain vielä vihainen voi voin voit
"""

_HU = """
a akkor az azt azért ahogy aki ami amit bocsánat csak de dolog egy el elég én engem és ez ezt
fáradt fel hanem hát ha hogy hol hova igen is itt jó jól kell ki kérem köszönöm le lehet lenne
lesz légy ma majd már még megint meg mert mi miért mikor milyen minden mindig mint mit mondta most
nagyon nagy ne nekem neked nélkül nem nincs olyan ott ő ők sem semmi senki se szeretlek szia
szomorú tegnap te tehát tudom tudod úgy vagy vagyok valami valaki van vannak velem veled volt
voltam akarom dühös
"""

_RO = """
acum aici al ale am ar are aș așa asta astăzi ați atunci au bine bun bună ca că când cât ce cel
cele ceva chiar cine cu cum da dacă dar de deci decât din după ea ei el ești este eu fac face faci
fi fost foarte fără haide iar îl îmi în încă îți la le lui lucru mă mai mâine mea mele mereu meu
mi mie mine mult mulțumesc ne nevoie ni nici nimeni nimic niciodată noi nu nostru o obosit om ori
pe pentru poate pot poți prea prin rău să sau se si și singur spune spus știi știu sunt supărat ta
tot toate toți trebuie trist tu tău un una unde unei unui va vă vei vine voi vor vreau vrei
"""

_CA = """
això aquest aquesta aquí ara així amb als altra altre anem avui bé bon bona cada cap cal com cosa
dels des després dia dir dona doncs ell ella ells els em ens era eren ets és està estic estàs
estava et fa faig fas fer gràcies ha han has he hem hi home jo ja li meva meu meus mai massa més
molt molta molts no nosaltres o on per perquè però poc potser puc pots què qui quan quina res
sempre sense seva seu si sigui sí som sóc tan també tens tenim tinc tot tota tots tothom trist tu
una uns va vaig val vam veure vol vols vull
"""

_ID = """
ada adalah agar akan aku anda apa apakah atau bagaimana bagus bahwa baik banyak begitu belum benar
berapa bisa bukan dalam dan dari dengan di dia dimana dong gak hanya harus hari ingin ini itu iya
jadi jangan jika juga kami kamu kapan karena kau ke kenapa kepada ketika kita kok lagi lah lalu
lebih maaf mana marah masih mau mengapa mereka merasa nggak oleh orang pada pernah saja sama
sampai sangat sangatlah saya sebuah sedang sedih sekali sekarang selalu semua senang seperti siapa
sudah suka tahu takut tapi telah tentang terima kasih tetapi tidak tolong untuk yang
"""

_LOANWORDS = """
café cafés cliché clichés crème brûlée déjà vu entrée fiancé fiancée jalapeño naïve papier mâché
piñata protégé purée résumé résumés sauté señor soirée soufflé touché über voilà
"""

_PARTICLES = """
al au da das de dei del della den der des di do dos du e el en i il la las le les lo los na o of
san santa ten ter van von y a an un una une in te me no si se son per con don mon ma mia mamma
bella ciao dieu deux roi nom ami amie
"""

_WORDS = {
    "en": _EN,
    "de": _DE,
    "fr": _FR,
    "es": _ES,
    "it": _IT,
    "nl": _NL,
    "pt": _PT,
    "tr": _TR,
    "sv": _SV,
    "da": _DA,
    "no": _NO,
    "pl": _PL,
    "cs": _CS,
    "fi": _FI,
    "hu": _HU,
    "ro": _RO,
    "ca": _CA,
    "id": _ID,
}
WORDS: dict[str, frozenset[str]] = {name: frozenset(text.split()) for name, text in _WORDS.items()}
"""Language -> its frequent words, in lower case."""

LOANWORDS = frozenset(_LOANWORDS.split())
"""English loanwords with letters of their original language."""

PARTICLES = frozenset(_PARTICLES.split())
"""Words that are common in names, titles and songs, and are weaker evidence."""
