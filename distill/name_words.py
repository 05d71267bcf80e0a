"""Words that decide whether a capitalised word is a name; all in lower case.

The lists of names themselves are faker's; these say where they must not be believed.
"""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


ALSO_WORDS = _words(
    """
    abbey ace alexa alma amber amen angel april art aspen august austin autumn bay berlin bill blue bob boston brad
    brandy bridge brook brooklyn buck buddy carol cash chance charity charlotte chase chelsea cherry china christian
    clay cliff coco cody cookie coral crystal daisy dale dallas dawn dean delta denver destiny diamond dick dolly
    don drew dusty earl easter echo eden elder ember eve faith fern fidel flora florence forest france frank gay
    gene genesis georgia ginger glen glenn gold golden grace grant guy happy harmony harper haven hazel heath
    heather heaven holly honey hope hunter ida india indiana iris israel ivory ivy jack jade jasmine jay jean jersey
    jewel jordan joy justice kay kelvin kenya king kit lake lance laurel lee liberty lily lincoln logan london lotus
    luna madison major manila marina mark marsh martin mason max may mercy merry mercury miles mills milo miracle
    misty myrtle nick norm norman ocean olive opal orlando paris parker pat patience pearl penny phoenix pink piper
    poppy porter precious president price prince princess queen rain raven ray reed rich river rob robin rock rocky
    rome rory rose rosemary ruby rusty sage sandy santa savannah scarlet scout season sierra siri sky skip smith
    star sterling stone stormy storm summer sunday sunny sunshine sue sydney teal terra tiger timber trinity trip
    troy tucker tulip unity van venice vera victor victoria viola violet virginia wade walker ward west will willow
    winter wolf woody york young zion adelaide alba alexandria arizona asia athens barcelona cairo carolina cuba
    dakota ireland jackson jamaica lourdes lyon malta milan montana nevada odessa sofia tennessee texas valencia
    vienna washington
    """
)
"""First names that are words, months or places as often."""
NO_NAMES = _words(
    """
    the a an and or for from with to of in on at by is are was please thanks thank hello hi hey dear best regards
    sincerely cheers yes no ok okay sure great good sorry just not your you my our we i it this that there here what
    when where who how why monday tuesday wednesday thursday friday saturday sunday january february march april may
    june july august september october november december today tomorrow street st avenue ave road rd lane ln drive
    boulevard blvd court square place way hotel hotels hostel suites suite restaurant restaurants cafe bar bistro
    airport station university college school hospital bank airlines airways air flight museum park beach city town
    county state states island islands lake river mountain inc ltd llc gmbh corp co company group team department
    office light lights lamp fan switch sensor door window room kitchen bedroom bathroom garage garden living dining
    blinds cover lock thermostat tv speaker media player order orders account customer customers service support
    user users name email phone address date time price total amount status type number card payment refund return
    item items product products code key id north south east west new old big little premium basic economy business
    class center centre house tower building floor club church theatre theater gallery castle palace bridge market
    mall store shop shopping online america american european british french german italian spanish english chinese
    japanese indian assistant agent model system cuisine food pizza burger coffee tea international airport
    """
)
"""Words that begin sentences, name things, or make a company of what stands before them: no part of a person's name."""
